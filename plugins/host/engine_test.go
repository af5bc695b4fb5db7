package host_test

import (
	"context"

	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
)

// newEngineHost is what the test binary does as an engine: one worker, whose pid it returns.
func newEngineHost(dir string) (int, error) {
	h, err := host.New(options(dir, &logs{wake: make(chan struct{})}))
	if err != nil {
		return 0, err
	}
	if err := h.Set([]host.Installed{installed(boxed())}); err != nil {
		return 0, err
	}
	o, err := h.Offer(theBox)
	if err != nil {
		return 0, err
	}
	wk, err := o.Worker(context.Background())
	if err != nil {
		return 0, err
	}
	_, err = wk.Acquire(context.Background(), provider.AcquireRequest{Scope: scope(`{}`)})
	return h.Status()[0].PID, err
}
