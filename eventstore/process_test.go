package eventstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
)

// Only a process that lives and drives says what its drivers can do, and only of those that it has.
func TestAProcessSaysWhichRuntimesItCanKeep(t *testing.T) {
	t.Parallel()
	p := eventstore.Process{Alive: true, Role: eventstore.RoleWorker, Serves: []string{"local", eventstore.KeepsOf("local"), "vm"}}
	said := func(p eventstore.Process, driver string) [2]bool {
		keeps, ok := p.Keeps(driver)
		return [2]bool{keeps, ok}
	}
	require.Equal(t, [2]bool{true, true}, said(p, "local"))
	require.Equal(t, [2]bool{false, true}, said(p, "vm"))
	require.Equal(t, [2]bool{false, false}, said(p, "ssh"))
	dead, api := p, p
	dead.Alive, api.Role = false, eventstore.RoleAPI
	require.Equal(t, [2]bool{false, false}, said(dead, "local"))
	require.Equal(t, [2]bool{false, false}, said(api, "local"))
}
