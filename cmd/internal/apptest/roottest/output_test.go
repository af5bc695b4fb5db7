package roottest

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// A command writes more than the disk takes: it goes on, what is missing is counted and said, and whoever else uses the
// engine is told clearly what cannot be done, until there is room again.
func TestACommandThatFillsTheDiskIsTruncatedAndHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	const size = 100_000_000
	d := newDisk(t, 64)
	e := d.engine(apptest.WithEnv("TENURE_DATABASE_URL=" + pgtest.URL(t)))
	e.Start()
	tenant := e.Tenant(wire.AddEnvironment{})
	greedy, modest := e.Acquire(tenant, wire.AcquireLease{}).Lease.ID, e.Acquire(tenant, wire.AcquireLease{}).Lease.ID
	neighbour, err := e.Client.StartExec(t.Context(), modest, apptest.Fence(t, e.Client, modest), wire.StartExec{Argv: []string{"sh", "-c", `echo begun; while [ ! -e done ]; do sleep 0.1; done; echo end; exit 7`}})
	require.NoError(t, err)
	for line, err := range e.Client.ExecOutput(t.Context(), neighbour.ID, client.OutputOptions{Follow: true}) {
		require.NoError(t, err)
		if len(line.Data) > 0 {
			break
		}
	}

	x, _, _ := e.Run(greedy, wire.StartExec{Argv: []string{"sh", "-c", `head -c 100000000 /dev/zero | tr '\0' x; exit 3`}})
	require.Equal(t, wire.EndExited, x.Result.End, "a full disk does not disturb the command")
	require.Equal(t, 3, *x.Result.ExitCode)
	require.Equal(t, "truncated", x.Output.State)
	require.Equal(t, int64(size), x.Output.Stdout.Bytes, "what was dropped counts")
	require.Positive(t, x.Output.Dropped)
	require.Less(t, x.Output.Dropped, int64(size))

	// Nothing new can be written, once the rest is taken that was less than the command wrote at a time; what was asked is
	// answered all the same.
	d.fill()
	refused, _, _ := e.Run(modest, wire.StartExec{Argv: []string{"echo", "hi"}})
	require.Equal(t, wire.EndStartFailed, refused.Result.End)
	require.Contains(t, *refused.Result.Message, "no space left on device")
	require.Contains(t, *refused.Result.Message, "free some space under")
	waiting, _, err := e.Client.AcquireLease(t.Context(), tenant.Company.ID,
		wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()})
	require.NoError(t, err)

	d.resize(256)
	got, err := e.Client.Lease(t.Context(), waiting.Lease.ID, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status, "%+v", got)
	for _, lease := range []uuid.UUID{greedy, modest, waiting.Lease.ID} {
		x, out, _ := e.Run(lease, wire.StartExec{Argv: []string{"echo", "room again"}})
		require.Equal(t, 0, *x.Result.ExitCode)
		require.Equal(t, "room again\n", string(out))
		require.Equal(t, "complete", x.Output.State)
	}
	_, _, _ = e.Run(modest, wire.StartExec{Argv: []string{"touch", "done"}})
	ended := e.Ended(neighbour.ID)
	require.Equal(t, 7, *ended.Result.ExitCode, "what ran all the while ran on")
	require.Equal(t, "complete", ended.Output.State)
	require.Equal(t, int64(len("begun\nend\n")), ended.Output.Stdout.Bytes)
}
