package catalog_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/domaintest"
)

// update writes the goldens that are missing. It never changes one that is there: what the log holds cannot be edited.
var update = flag.Bool("update", false, "write missing golden files")

// frozen is every name and revision ever shipped. A line is added for a new event and raised for a new revision; nothing
// else ever happens to it.
var frozen = []domain.Entry{
	{Name: "AdmissionCapacityChanged", Revision: 1},
	{Name: "AdmissionClosed", Revision: 1},
	{Name: "AdmissionEvicted", Revision: 1},
	{Name: "AdmissionFreed", Revision: 1},
	{Name: "AdmissionGranted", Revision: 1},
	{Name: "AdmissionHandedBack", Revision: 1},
	{Name: "AdmissionIdled", Revision: 1},
	{Name: "AdmissionLeft", Revision: 1},
	{Name: "AdmissionOpened", Revision: 1},
	{Name: "AdmissionStalled", Revision: 1},
	{Name: "AdmissionWaiting", Revision: 1},
	{Name: "ClockConfirmed", Revision: 1},
	{Name: "CompanyAdded", Revision: 1},
	{Name: "CompanyDefaultEnvironmentSet", Revision: 1},
	{Name: "EnvironmentArchived", Revision: 1},
	{Name: "EnvironmentDeleted", Revision: 1},
	{Name: "EnvironmentReconfigured", Revision: 1},
	{Name: "EnvironmentRegistered", Revision: 1},
	{Name: "EnvironmentRetirementRequested", Revision: 1},
	{Name: "ExecClaimed", Revision: 1},
	{Name: "ExecEnded", Revision: 1},
	{Name: "ExecKillRequested", Revision: 1},
	{Name: "ExecOutputSealed", Revision: 1},
	{Name: "ExecRequested", Revision: 1},
	{Name: "ExecStarted", Revision: 1},
	{Name: "KeyAdded", Revision: 1},
	{Name: "KeyRevoked", Revision: 1},
	{Name: "LeakCleared", Revision: 1},
	{Name: "LeakDestroyFailed", Revision: 1},
	{Name: "LeakDestroyIntended", Revision: 1},
	{Name: "LeakFound", Revision: 1},
	{Name: "LeaseCanceled", Revision: 1},
	{Name: "LeaseCleanupCompleted", Revision: 1},
	{Name: "LeaseCleanupForced", Revision: 1},
	{Name: "LeaseCleanupRetryRequested", Revision: 1},
	{Name: "LeaseDisowned", Revision: 1},
	{Name: "LeaseExpired", Revision: 1},
	{Name: "LeaseExpiryWarned", Revision: 1},
	{Name: "LeaseFailed", Revision: 1},
	{Name: "LeaseGranted", Revision: 1},
	{Name: "LeaseNodeForgotten", Revision: 1},
	{Name: "LeaseNodeLost", Revision: 1},
	{Name: "LeaseProvisioned", Revision: 1},
	{Name: "LeaseProvisioningAbandoned", Revision: 1},
	{Name: "LeaseProvisioningFailed", Revision: 1},
	{Name: "LeaseProvisioningStarted", Revision: 1},
	{Name: "LeaseQuarantined", Revision: 1},
	{Name: "LeaseReleaseFailed", Revision: 1},
	{Name: "LeaseReleaseRequested", Revision: 1},
	{Name: "LeaseReleaseStarted", Revision: 1},
	{Name: "LeaseReleased", Revision: 1},
	{Name: "LeaseRenewed", Revision: 1},
	{Name: "LeaseRequested", Revision: 1},
	{Name: "LeaseRetained", Revision: 1},
	{Name: "LeaseRetentionEnded", Revision: 1},
	{Name: "LeaseRuntimePassed", Revision: 1},
	{Name: "LogAdopted", Revision: 1},
	{Name: "LogForked", Revision: 1},
	{Name: "NodeForgotten", Revision: 1},
	{Name: "NodeReturned", Revision: 1},
	{Name: "PluginDisabled", Revision: 1},
	{Name: "PluginEnabled", Revision: 1},
	{Name: "PluginInstallCompleted", Revision: 1},
	{Name: "PluginInstallFailed", Revision: 1},
	{Name: "PluginInstallRequested", Revision: 1},
	{Name: "PluginInstalled", Revision: 1},
	{Name: "ProbeClaimed", Revision: 1},
	{Name: "ProbeCompleted", Revision: 1},
	{Name: "ProbeRequested", Revision: 1},
	{Name: "ReadModelEventSkipped", Revision: 1},
	{Name: "RenewalsInterrupted", Revision: 1},
	{Name: "RuntimeDestroyIntended", Revision: 1},
	{Name: "RuntimeDestroyed", Revision: 1},
	{Name: "RuntimeDisowned", Revision: 1},
	{Name: "RuntimeFreed", Revision: 1},
	{Name: "RuntimeHeld", Revision: 1},
	{Name: "RuntimeIntended", Revision: 1},
	{Name: "RuntimeLost", Revision: 1},
	{Name: "RuntimeMade", Revision: 1},
	{Name: "SecretAdded", Revision: 1},
	{Name: "SecretDestroyed", Revision: 1},
	{Name: "SecretRead", Revision: 1},
	{Name: "SecretVersionAdded", Revision: 1},
	{Name: "SecretVersionDestroyed", Revision: 1},
	{Name: "SecretVersionDisabled", Revision: 1},
	{Name: "SecretVersionEnabled", Revision: 1},
}

func TestEveryNameAndRevisionIsFrozen(t *testing.T) {
	t.Parallel()
	require.Empty(t, cmp.Diff(frozen, catalog.All()))
}

func TestNoNameIsUsedTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, p := range catalog.Parts() {
		for _, e := range p.Entries {
			require.NotContains(t, seen, e.Name, "%s and %s name the same event", p.Category, seen[e.Name])
			seen[e.Name] = p.Category
		}
	}
}

func TestEveryEventHasASampleThatSurvivesTheLog(t *testing.T) {
	t.Parallel()
	samples := map[string]domain.Event{}
	for _, e := range domaintest.Samples() {
		samples[e.EventName()] = e
	}
	for _, entry := range catalog.All() {
		want, ok := samples[entry.Name]
		require.True(t, ok, "%s has no sample in domaintest", entry.Name)
		name, revision, payload, err := catalog.Encode(want)
		require.NoError(t, err)
		require.Equal(t, entry.Name, name)
		require.Equal(t, entry.Revision, revision)
		got, err := catalog.Decode(name, revision, payload)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
	}
	require.Len(t, samples, len(catalog.All()))
}

func TestEveryRevisionHasItsGoldenAndIsStillRead(t *testing.T) {
	t.Parallel()
	for _, part := range catalog.Parts() {
		dir := filepath.Join("..", part.Category, "testdata", "events")
		if *update {
			writeMissing(t, dir, part)
		}
		wanted := map[string]bool{}
		for _, entry := range part.Entries {
			for revision := 1; revision <= entry.Revision; revision++ {
				file := goldenFile(entry.Name, revision)
				wanted[file] = true
				golden, err := os.ReadFile(filepath.Join(dir, file))
				require.NoError(t, err, "run go test ./domain/catalog -update to write a missing golden")
				golden = bytes.TrimSuffix(golden, []byte("\n"))

				event, err := catalog.Decode(entry.Name, revision, golden)
				require.NoError(t, err, file)
				_, current, again, err := catalog.Encode(event)
				require.NoError(t, err, file)
				if revision == current {
					require.Equal(t, string(golden), string(again), file)
				}
			}
		}
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, f := range files {
			require.True(t, wanted[f.Name()], "%s belongs to no event of %s", f.Name(), part.Category)
		}
	}
}

func goldenFile(name string, revision int) string { return fmt.Sprintf("%s.v%d.json", name, revision) }

func writeMissing(t *testing.T, dir string, part catalog.Part) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, sample := range domaintest.Samples() {
		name, revision, payload, err := catalog.Encode(sample)
		require.NoError(t, err)
		for _, entry := range part.Entries {
			if entry.Name != name {
				continue
			}
			f, err := os.OpenFile(filepath.Join(dir, goldenFile(name, revision)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if os.IsExist(err) {
				continue
			}
			require.NoError(t, err)
			_, err = f.Write(append(payload, '\n'))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
}

func TestWhatTheCatalogDoesNotKnowIsAnError(t *testing.T) {
	t.Parallel()
	_, err := catalog.Decode("LeaseTeleported", 1, []byte(`{}`))
	require.ErrorContains(t, err, "LeaseTeleported is not in the catalog")

	event, err := catalog.Decode("LeaseReleased", 2, []byte(`{}`))
	require.ErrorContains(t, err, "this program knows up to 1")
	require.Nil(t, event)

	_, err = catalog.Decode("LeaseGranted", 1, []byte(`{"slot":"two"}`))
	require.ErrorContains(t, err, "decode LeaseGranted")

	_, _, _, err = catalog.Encode(unknown{name: "LeaseTeleported"})
	require.ErrorContains(t, err, "not in the catalog")

	_, _, _, err = catalog.Encode(unknown{name: "AdmissionClosed"})
	require.ErrorContains(t, err, "not one of "+admission.Category)
}

type unknown struct{ name string }

func (u unknown) EventName() string { return u.name }
