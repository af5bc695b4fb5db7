package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// checkListen refuses to serve beyond loopback without TLS unless told to.
func (a *App) checkListen() error {
	host, _, err := net.SplitHostPort(a.opts.Listen)
	if err != nil {
		return fmt.Errorf("--listen %q: %w; give HOST:PORT, such as 127.0.0.1:7717", a.opts.Listen, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() || a.opts.InsecureListen {
		return nil
	}
	return fmt.Errorf("--listen %q is reachable from elsewhere and has no TLS; listen on 127.0.0.1 behind a proxy that has, or add --insecure-listen",
		a.opts.Listen)
}

// listen takes the server's address. Nothing is served yet; but who makes runtimes has to know the way to here.
func (a *App) listen(ctx context.Context) error {
	network := "tcp"
	if ip, err := netip.ParseAddr(a.listenHost()); err == nil && ip.Is4() {
		network = "tcp4" // Go would take 0.0.0.0 for every address of IPv6 as well, and call it [::]
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, network, a.opts.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; choose another address, or stop what listens there", a.opts.Listen, err)
	}
	a.listener = listener
	a.onStop("listener", func(context.Context) error {
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// reachedAt is where other processes reach this one; "" for an API process, which has nothing for them.
func (a *App) reachedAt() string {
	switch {
	case !a.drives():
		return ""
	case a.opts.Address != "":
		return a.opts.Address
	}
	_, port, _ := net.SplitHostPort(a.listener.Addr().String())
	if ip, err := netip.ParseAddr(a.listenHost()); a.listenHost() == "" || err == nil && ip.IsUnspecified() {
		// Every address of this machine: its name is the best guess at one that others know.
		if host, err := os.Hostname(); err == nil {
			return net.JoinHostPort(host, port)
		}
	}
	return net.JoinHostPort(a.listenHost(), port)
}

// listenHost is the host of --listen, "" for every address of both families.
func (a *App) listenHost() string {
	host, _, _ := net.SplitHostPort(a.opts.Listen) // checkListen has looked at it
	return host
}

// listensOn is the listener's address; the host is left out if it was.
func (a *App) listensOn() string {
	if a.listenHost() == "" {
		return fmt.Sprintf(":%d", a.listener.Addr().(*net.TCPAddr).Port)
	}
	return a.listener.Addr().String()
}
