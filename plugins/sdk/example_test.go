package sdk_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// boxes is about the least that a provider can be: it remembers which runtimes there are.
type boxes struct {
	mu   sync.Mutex
	made map[string]bool
}

// Describe implements [drivers.Driver].
func (*boxes) Describe() drivers.Description {
	return drivers.Description{Name: "boxes", Provider: "boxes", Class: drivers.ClassIdempotent, Isolation: "none"}
}

// Acquire implements [drivers.Driver].
func (b *boxes) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	// What a library or a child process prints does no harm: it goes to stderr.
	_, _ = os.Stdout.WriteString("a stray print\n")
	child := exec.CommandContext(ctx, "/bin/echo", "a child's print")
	child.Stdout = os.Stdout
	if err := child.Run(); err != nil {
		return drivers.Runtime{}, fmt.Errorf("print: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id, resumed := "box:"+req.RuntimeID, b.made[req.RuntimeID]
	b.made[req.RuntimeID] = true
	return drivers.Runtime{ProviderLeaseID: &id, Resumed: resumed}, nil
}

// Release implements [drivers.Driver].
func (b *boxes) Release(_ context.Context, req drivers.ReleaseRequest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.made, req.RuntimeID)
	return nil
}

// A plugin is a driver and this main function.
func Example() {
	sdk.Main(sdk.Plugin{
		Manifest: sdk.Manifest{ID: "acme.boxes", Version: "1.0.0", DisplayName: "Acme boxes", Author: "Acme"},
		Drivers:  map[string]drivers.Driver{"boxes": &boxes{made: map[string]bool{}}},
	})
}
