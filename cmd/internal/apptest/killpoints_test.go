package apptest_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// parallelKills is how many engines are killed at once.
const parallelKills = 4

// Everything between a request and its released lease, with the engine killed at each step, started again and left to its
// client, who repeats what had no answer under the same keys. The list of steps is generated from the source; a step that
// this scenario does not pass has its reason in notPassed.
func TestAnEngineKilledAtAnyPointSettles(t *testing.T) {
	t.Parallel()
	passed := passedWithoutKill(t)
	var cases []kill
	for _, point := range slices.Sorted(maps.Keys(passed)) {
		cases = append(cases, kill{point: point, passage: 1})
		// Which events a checkpoint covers is up to the moment, so it is tried at several of its passages.
		if strings.HasPrefix(point, "feed.") {
			cases = append(cases, kill{point: point, passage: 3}, kill{point: point, passage: 5})
		}
	}
	var mu sync.Mutex
	table := map[kill]settled{}
	// One engine lives through many kills; those of a start need one that was never started.
	killAll(t, parallelKills, cases, kill.String, func(t *testing.T, v *victim, k kill) {
		var result settled
		if k.atStart() {
			result = k.run(t)
		} else {
			result = k.runOn(v)
		}
		mu.Lock()
		defer mu.Unlock()
		table[k] = result
	})
	t.Log(render(cases, table))
}

// passedWithoutKill runs the scenario without a kill and returns how often it passes each point. It holds the generated
// list to what the scenario really passes.
func passedWithoutKill(t *testing.T) map[string]int {
	t.Helper()
	k := kill{}
	result := k.run(t)
	for _, point := range faults.Points {
		why := whyNotPassed(point)
		if result.passed[point] == 0 {
			assert.NotEmpty(t, why, "the scenario does not pass %s: let it, or say in notPassed why it cannot", point)
		} else {
			assert.Empty(t, why, "the scenario passes %s, and notPassed says that it cannot", point)
		}
	}
	require.False(t, t.Failed())
	for point := range result.passed {
		require.Contains(t, faults.Points, point, "run make generate")
	}
	return result.passed
}

// render is the table of kill points.
func render(cases []kill, table map[kill]settled) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nkill point\treached\tin the middle of\tsettled after\texec\n")
	for _, k := range cases {
		r, ran := table[k]
		switch {
		case !ran:
			fmt.Fprintf(w, "%s\t-\t-\tFAILED\t-\n", k)
		case !r.reached:
			fmt.Fprintf(w, "%s\tno\t-\t-\t%s\n", k, r.end)
		default:
			fmt.Fprintf(w, "%s\tyes\t%s\t%d ms\t%s\n", k, r.during, r.after.Milliseconds(), r.end)
		}
	}
	fmt.Fprintf(w, "%d kills\n\nnot on the way\tbecause\n", len(cases))
	for _, subject := range slices.Sorted(maps.Keys(notPassed)) {
		fmt.Fprintf(w, "%s\t%s\n", subject, notPassed[subject])
	}
	_ = w.Flush()
	return b.String()
}

// settled is what became of one kill.
type settled struct {
	reached bool
	// during is what the client was at when the engine died.
	during string
	// after is from the restart to the end of all work.
	after time.Duration
	// end is how the command ended.
	end string
	// passed is how often each point was passed, in all lives of the engine.
	passed map[string]int
}

// inKeptLife says that another scenario has the point.
const inKeptLife = "a kept runtime's; TestAnEngineKilledAtAnyPointOfAKeptRuntimesLifeSettles has it"

// startEvents are the first events of what an engine appends at its first start.
var startEvents = []string{"KeyAdded", "PluginInstalled"}

// atStart reports whether the point is on the way to serving.
func (k kill) atStart() bool {
	_, event, _ := strings.Cut(k.point, ":")
	return slices.Contains(startEvents, event)
}

// notPassed says why the scenario does not pass a point: by its step, or by its event, which is the first of an append.
var notPassed = map[string]string{
	"driver.discard.before": "only a worker that was paused over a take-over destroys what it made too late; drivers/supervisor tests it",
	"driver.discard.after":  "as driver.discard.before",

	// Never the first event of an append.
	"AdmissionCapacityChanged": "behind EnvironmentReconfigured",
	"AdmissionClosed":          "behind EnvironmentArchived",
	"AdmissionFreed":           "behind the end of a lease",
	"AdmissionGranted":         "behind LeaseRequested or AdmissionFreed",
	"AdmissionLeft":            "behind LeaseCanceled",
	"AdmissionOpened":          "behind EnvironmentRegistered",
	"AdmissionWaiting":         "behind LeaseRequested",
	"ExecOutputSealed":         "behind ExecEnded",
	"LeaseGranted":             "behind LeaseRequested or AdmissionFreed",
	"RuntimeDestroyIntended":   "behind LeaseReleaseStarted",
	"RuntimeDestroyed":         "behind LeaseReleased",
	"RuntimeFreed":             "behind LeaseReleaseStarted",
	"RuntimeHeld":              "behind LeaseProvisioned",
	"RuntimeIntended":          "behind LeaseProvisioningStarted",
	"RuntimeMade":              "behind LeaseProvisioned",
	"RuntimeDisowned":          "behind LeaseFailed or LeaseDisowned",

	// The scenario's lease is ephemeral.
	"driver.keep.before":      inKeptLife,
	"driver.keep.after":       inKeptLife,
	"driver.resume.before":    inKeptLife,
	"driver.resume.after":     inKeptLife,
	"driver.clear.before":     inKeptLife,
	"driver.clear.after":      inKeptLife,
	"LeaseRetained":           inKeptLife,
	"LeaseRetentionEnded":     inKeptLife,
	"LeaseCleanupCompleted":   inKeptLife,
	"LeaseProvisioningFailed": inKeptLife,
	"LeaseRuntimePassed":      "behind LeaseProvisioningStarted",
	"RuntimeLost":             "behind LeaseProvisioningFailed",
	"AdmissionIdled":          "behind LeaseRetained",
	"AdmissionEvicted":        "behind LeaseRequested or AdmissionIdled",
	"AdmissionHandedBack":     "behind LeaseCanceled",
	"AdmissionStalled":        "behind LeaseReleaseFailed",

	// A fork of the log is no step on this way; the tests of epochs have them.
	"LogForked":     "only a database that was failed over, restored or copied leads to it",
	"LogAdopted":    "as LogForked",
	"LeaseDisowned": "only a copy of the log lets go of leases",

	// Not between a request and its released lease.
	"EnvironmentArchived":            "an operator's, one append",
	"EnvironmentReconfigured":        "an operator's, one append",
	"CompanyDefaultEnvironmentSet":   "an operator's, one append",
	"KeyRevoked":                     "an operator's, one append",
	"PluginDisabled":                 "an operator's, one append",
	"SecretAdded":                    "an operator's, one append",
	"SecretDestroyed":                "an operator's, one append",
	"SecretVersionAdded":             "an operator's, one append",
	"SecretVersionDestroyed":         "an operator's, one append",
	"SecretVersionDisabled":          "an operator's, one append",
	"SecretVersionEnabled":           "an operator's, one append",
	"SecretRead":                     "behind the claim that reads it",
	"EnvironmentRetirementRequested": "an operator's; drivers/supervisor tests what follows",
	"EnvironmentDeleted":             "as EnvironmentRetirementRequested",
	"PluginInstallRequested":         "an operator's; drivers/supervisor tests what follows",
	"PluginInstallCompleted":         "as PluginInstallRequested",
	"PluginInstallFailed":            "as PluginInstallRequested",
	"ProbeRequested":                 "no environment is asked; drivers/supervisor tests it",
	"ProbeClaimed":                   "as ProbeRequested",
	"ProbeCompleted":                 "as ProbeRequested",
	"driver.probe.before":            "as ProbeRequested",
	"driver.probe.after":             "as ProbeRequested",
	"PluginEnabled":                  "behind PluginInstalled",
	"ReadModelEventSkipped":          "an operator's, one append",
	"ExecKillRequested":              "the command ends by itself",
	"LeaseCanceled":                  "the lease becomes active",
	"LeaseFailed":                    "the lease becomes active",
	"LeaseProvisioningAbandoned":     "the lease becomes active",
	"LeaseReleaseFailed":             "the driver takes the runtime down",
	"LeaseQuarantined":               "as LeaseReleaseFailed, and never the first event of an append",
	"LeaseCleanupRetryRequested":     "the driver takes the runtime down",
	"LeaseCleanupForced":             "the driver takes the runtime down",
	"LeakFound":                      "nothing is left outside; drivers/supervisor and cmd/internal/faketest test what is",
	"LeakDestroyIntended":            "as LeakFound",
	"LeakDestroyFailed":              "as LeakFound",
	"LeakCleared":                    "as LeakFound",
	"driver.reap.before":             "as LeakFound",
	"driver.reap.after":              "as LeakFound",
	"reap.listed":                    "the life is shorter than a period of the reaper",
	"LeaseExpired":                   "the lease is released; TestALeaseThatNobodyReleasesEndsByItself has this end",
	"LeaseRenewed":                   "the lease is used for less than a renewal window",
	"LeaseExpiryWarned":              "the lease is released long before",
	"RenewalsInterrupted":            "the engine is always there",
	"ClockConfirmed":                 "an operator's, one append",
}

func whyNotPassed(point string) string {
	if why := notPassed[point]; why != "" {
		return why
	}
	_, event, _ := strings.Cut(point, ":")
	return notPassed[event]
}
