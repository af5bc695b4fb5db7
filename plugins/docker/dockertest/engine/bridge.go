package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// makeBridge gives the engine a bridge of its own as the network "bridge": the usual docker0 might be another engine's.
func (e *Engine) makeBridge(ctx context.Context) error {
	name := fmt.Sprintf("tnr%d", os.Getpid())
	e.Gateway = fmt.Sprintf("10.213.%d.1", os.Getpid()%250)
	if err := ip(ctx, "link", "add", name, "type", "bridge"); err != nil {
		return err
	}
	e.bridge = name
	return errors.Join(ip(ctx, "addr", "add", e.Gateway+"/24", "dev", name), ip(ctx, "link", "set", name, "up"))
}

func (e *Engine) removeBridge() error {
	if e.bridge == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return ip(ctx, "link", "del", e.bridge)
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
