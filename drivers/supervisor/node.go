package supervisor

import (
	"context"
	"errors"

	"github.com/tenure-dev/tenure/domain/lease"
)

// errElsewhere says that another node's processes are to act.
var errElsewhere = errors.New("the runtime is on another node")

// elsewhere reports whether the lease's runtime is bound to another node that lives. Its own processes drive it then; this
// one cannot see it, would take it for gone, and so leaves it alone.
func (s *Supervisor) elsewhere(ctx context.Context, l lease.State) (bool, error) {
	if l.Runtime.IsZero() {
		return false, nil
	}
	driver, err := s.deps.Drivers.Resolve(target(l))
	if err != nil || !driver.Describe().NodeBound {
		return false, nil //nolint:nilerr // who has no driver finds that out when it drives
	}
	origin, err := s.deps.Commands.Origin(ctx, l.Runtime)
	if err != nil {
		return false, err
	}
	node := origin.Node
	if node.IsZero() || node == s.deps.Process.Node {
		return false, nil
	}
	processes, err := s.deps.Processes.List(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range processes {
		if p.Node == node && p.Alive {
			return true, nil
		}
	}
	return false, nil
}
