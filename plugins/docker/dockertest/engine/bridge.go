package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
)

// makeBridge gives the engine a bridge of its own as the network "bridge": the usual docker0 might be another engine's.
func (e *Engine) makeBridge(ctx context.Context) error {
	name := fmt.Sprintf("tnr%d", os.Getpid())
	var err error
	if e.Gateway, err = freeGateway(os.Getpid()); err != nil {
		return err
	}
	if err := ip(ctx, "link", "add", name, "type", "bridge"); err != nil {
		return err
	}
	e.bridge = name
	return errors.Join(ip(ctx, "addr", "add", e.Gateway+"/24", "dev", name), ip(ctx, "link", "set", name, "up"))
}

// freeGateway is an address whose network no interface of this machine has: two processes' ids may lead to the same.
func freeGateway(seed int) (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	const all = 250
	for n := range all {
		gateway := fmt.Sprintf("10.213.%d.1", (seed+n)%all)
		if !slices.ContainsFunc(addresses, func(a net.Addr) bool { return a.String() == gateway+"/24" }) {
			return gateway, nil
		}
	}
	return "", fmt.Errorf("all of %d networks of engines are taken", all)
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
