package apptest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// hidden is a value that must be nowhere.
const hidden = "HIDDEN-52d0"

// A second machine without the first one's keys, or with keys of its own, says which key it lacks and which file to copy.
func TestASecondMachineNeedsTheKeysetOfTheFirst(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	env := apptest.WithEnv("TENURE_DATABASE_URL=" + url)
	first := apptest.Start(t, env)
	info, err := os.Stat(filepath.Join(first.DataDir, "keyset.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	keyset, err := os.ReadFile(filepath.Join(first.DataDir, "keyset.json"))
	require.NoError(t, err)

	second := apptest.New(t, env)
	got := second.Refused(0)
	got.Check(t, "keyset_missing")
	require.Regexp(t, `sealed with key \d+, and .*keyset\.json is not there`, got.Cause)
	require.Contains(t, got.Remediation, "copy keyset.json")
	require.Contains(t, got.Remediation, first.DataDir)
	require.NoFileExists(t, filepath.Join(second.DataDir, "keyset.json"), "none is made in its place")

	stranger := apptest.Start(t) // has a keyset of its own, of another database
	theirs, err := os.ReadFile(filepath.Join(stranger.DataDir, "keyset.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(second.DataDir, "keyset.json"), theirs, 0o600))
	got = second.Refused(0)
	got.Check(t, "keyset_missing")
	require.Contains(t, got.Cause, "does not have it")
	require.NoError(t, os.WriteFile(filepath.Join(second.DataDir, "keyset.json"), keyset[:100], 0o600))
	second.Refused(0).Check(t, "keyset_damaged")
	require.NoError(t, os.Remove(filepath.Join(second.DataDir, "keyset.json")))

	// By the variable, without a file.
	admin, err := os.ReadFile(filepath.Join(first.DataDir, "admin.key"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(second.DataDir, "admin.key"), admin, 0o600))
	second.Env = append(second.Env, "TENURE_KEYSET="+string(keyset))
	second.Start()
	require.NoFileExists(t, filepath.Join(second.DataDir, "keyset.json"))
	require.NotContains(t, second.Log(), "hashKey")
	require.NotContains(t, second.Log(), strings.TrimSpace(string(keyset)))
}

// The keyset that is lost is never replaced in silence: what it sealed would be lost unnoticed.
func TestALostKeysetIsNotReplacedInSilence(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t)
	path := filepath.Join(e.DataDir, "keyset.json")
	keyset, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 0, e.Stop())
	require.NoError(t, os.Remove(path))
	e.Refused(0).Check(t, "keyset_missing")
	require.NoFileExists(t, path)
	require.NoError(t, os.WriteFile(path, keyset, 0o600))
	e.Start()
}

// keysetVerb calls tenure keyset on an engine's data directory.
func keysetVerb(t *testing.T, e *apptest.Engine, verb ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), apptest.Binary(t), append(append([]string{"keyset"}, verb...), "--data-dir", e.DataDir, "-o", "json")...)
	cmd.Env = []string{"HOME=" + e.DataDir}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAKeysetIsRotatedWhileTheEngineRestsAndEverythingIsSealedAnew(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	e := apptest.Start(t, apptest.WithEnv("TENURE_DATABASE_URL="+url))
	tenant := e.Tenant(wire.AddEnvironment{})
	secret, err := e.Client.AddSecret(t.Context(), tenant.Company.ID, wire.AddSecret{Name: "s", Value: hidden})
	require.NoError(t, err)
	held := e.Acquire(tenant, wire.AcquireLease{Env: map[string]string{"TOKEN": hidden}}).Lease

	out, err := keysetVerb(t, e, "rotate")
	require.Error(t, err, "while the engine runs")
	require.Contains(t, out, "data_dir_in_use")
	out, err = keysetVerb(t, e, "list")
	require.NoError(t, err, out)
	require.Equal(t, 1, strings.Count(out, `"id"`))
	require.Equal(t, 0, e.Stop())
	out, err = keysetVerb(t, e, "rotate")
	require.NoError(t, err, out)
	require.Equal(t, 2, strings.Count(out, `"id"`))
	e.Start()

	// The values that the new key has sealed begin with its id, which is the younger one's in the table.
	require.Eventually(t, func() bool {
		var old, all int
		require.NoError(t, pool.QueryRow(t.Context(), `
			WITH newest AS (SELECT id FROM vault_keys ORDER BY added_at DESC LIMIT 1)
			SELECT count(*) FILTER (WHERE substring(i.value FROM 3 FOR 4) <> substring(int8send(newest.id) FROM 5)), count(*)
			  FROM inputs i, newest`).Scan(&old, &all))
		return old == 0 && all == 2
	}, waitLong, 10*time.Millisecond)
	var plain int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM inputs WHERE position($1::bytea IN value) > 0`, []byte(hidden)).Scan(&plain))
	require.Zero(t, plain)

	x, err := e.Client.StartExec(t.Context(), held.ID, held.Fence, wire.StartExec{Argv: []string{"sh", "-c", `test "$TOKEN" = ` + hidden[:6] + `-52d0`}})
	require.NoError(t, err)
	ended, err := e.Client.Exec(t.Context(), x.ID, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, 0, *ended.Result.ExitCode)
	// The old key is destroyed once it is asked for, and all that there is opens without it.
	old := strings.TrimSuffix(strings.TrimPrefix(out, `[{"id":`), out[strings.Index(out, `,"primary"`):])
	require.Equal(t, 0, e.Stop())
	out, err = keysetVerb(t, e, "destroy", old)
	require.NoError(t, err, out)
	require.Contains(t, out, `"doomed":true`)
	e.Start()
	require.Eventually(t, func() bool {
		out, err := keysetVerb(t, e, "list")
		return err == nil && strings.Count(out, `"id"`) == 1 && !strings.Contains(out, old)
	}, waitLong, 50*time.Millisecond)
	require.Equal(t, 0, e.Stop())
	e.Start()
	shown, err := e.Client.Secret(t.Context(), secret.ID)
	require.NoError(t, err)
	require.Equal(t, wire.SecretActive, shown.Status)
	_, err = e.Client.DestroySecret(t.Context(), secret.ID)
	require.NoError(t, err)
	var left int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM inputs WHERE subject = 'secret-' || $1`, secret.ID.String()).Scan(&left))
	require.Zero(t, left)
	require.NotContains(t, e.Log(), hidden)
}

// Another process may have started before the rotation and still seal with the old key.
func TestNoKeyIsDestroyedWhileAnotherProcessLives(t *testing.T) {
	t.Parallel()
	env := apptest.WithEnv("TENURE_DATABASE_URL=" + pgtest.URL(t))
	first := apptest.Start(t, env)
	second := apptest.New(t, env)
	second.Beside(first)
	second.Start()
	require.Equal(t, 0, first.Stop())
	out, err := keysetVerb(t, first, "list")
	require.NoError(t, err)
	old := strings.TrimPrefix(out[:strings.Index(out, ",")], `[{"id":`)
	out, err = keysetVerb(t, first, "destroy", old)
	require.Error(t, err, "it seals")
	require.Contains(t, out, "key_in_use")
	_, err = keysetVerb(t, first, "rotate")
	require.NoError(t, err)
	_, err = keysetVerb(t, first, "destroy", old)
	require.NoError(t, err)
	first.Start()
	require.Eventually(t, func() bool {
		return strings.Contains(first.Log(), "a key is destroyed once no other process lives")
	}, waitLong, 10*time.Millisecond)
	out, err = keysetVerb(t, first, "list")
	require.NoError(t, err)
	require.Contains(t, out, old)

	// The other one has an older file, and is told so at its next start.
	require.Equal(t, 0, second.Stop())
	second.Refused(0).Check(t, "keyset_missing")
	second.Beside(first)
	second.Start()
}
