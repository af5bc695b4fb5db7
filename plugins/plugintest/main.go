package plugintest

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// Worker makes the plugin of a worker's process from its arguments.
type Worker func(args []string) (sdk.Plugin, error)

// The first arguments that make something else than a test of a test's binary.
const (
	bridgeArg = "__plugintest-bridge"
	workerArg = "__plugintest-worker"
)

// Main is the TestMain of a package that uses [Wire] or [Process]. parent is as in [driverstest.Main], whose work it does as
// well; workers are what Process can start, by name.
func Main(m *testing.M, parent func() int, workers map[string]Worker) {
	switch {
	case len(os.Args) == 3 && os.Args[1] == bridgeArg:
		exit(bridge(os.Args[2]))
	case len(os.Args) >= 3 && os.Args[1] == workerArg:
		p, err := workers[os.Args[2]](os.Args[3:])
		if err == nil {
			err = sdk.Serve(context.Background(), p)
		}
		exit(err)
	}
	driverstest.Main(m, parent)
}

func exit(err error) {
	if err != nil {
		_, _ = io.WriteString(os.Stderr, err.Error()+"\n") // there is nobody else to tell
		syscall.Exit(1)
	}
	syscall.Exit(0) // as driverstest.Main
}

// bridge is a worker that passes everything on to a socket: to the plugin that is served in the process of the test.
func bridge(socket string) error {
	var d net.Dialer
	conn, err := d.DialContext(context.Background(), "unix", socket)
	if err != nil {
		return err
	}
	back := make(chan error, 1)
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		back <- err
	}()
	_, err = io.Copy(conn, os.Stdin)
	if half, ok := conn.(*net.UnixConn); ok {
		_ = half.CloseWrite() // stdin has ended; what is still said comes back first
	}
	if err != nil {
		return err
	}
	return <-back
}
