package plugintest_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	inprocess "github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/plugintest"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// workers are what this package's tests start as processes.
var workers = map[string]plugintest.Worker{
	"fake": func(args []string) (sdk.Plugin, error) {
		w, err := fake.Open(fake.Options{Dir: args[0]})
		if err != nil {
			return sdk.Plugin{}, err
		}
		d := w.Driver(drivers.Class(args[1]))
		return sdk.Plugin{Drivers: map[string]drivers.Driver{d.Describe().Provider: d}, Closed: w.Close, Drain: 2 * time.Second}, nil
	},
	// All three classes, on the wire that junk needs.
	"scripted": func(args []string) (sdk.Plugin, error) {
		err := fake.Serve(context.Background(), args[0])
		if err == nil {
			syscall.Exit(0) // it has been served already
		}
		return sdk.Plugin{}, err
	},
	"local": func(args []string) (sdk.Plugin, error) {
		d, err := newLocal(args[0])
		return sdk.Plugin{Drivers: map[string]drivers.Driver{"local": d}, Drain: 2 * time.Second}, err
	},
}

func TestMain(m *testing.M) { plugintest.Main(m, execparent.Main, workers) }

func newLocal(root string) (*local.Driver, error) {
	return local.New(local.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, AllowRoot: true, Drain: 3 * time.Second,
	})
}

var classes = []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind}

func TestTheDriverInMemoryKeepsItsPromisesAcrossTheWire(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]inprocess.Options{
		"idempotent": {}, "listable": {Class: drivers.ClassListable}, "blind": {Class: drivers.ClassBlind, NoList: true},
		"bare": {NoExec: true, NoList: true, NoCheckConfig: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driverstest.Run(t, driverstest.Features{
				New: func(t *testing.T) drivers.Driver { return plugintest.Wire(t, inprocess.New(opts)) },
				BadConfigs: map[string]json.RawMessage{
					"config.size": json.RawMessage(`{"size": 1}`), "config.image": json.RawMessage(`{"image": 1}`),
				},
			})
		})
	}
}

func TestTheFakeKeepsItsPromisesAcrossTheWire(t *testing.T) {
	t.Parallel()
	for _, class := range classes {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			driverstest.Run(t, driverstest.Features{
				New: func(t *testing.T) drivers.Driver {
					return plugintest.Process(t, workers, "fake", t.TempDir(), string(class))
				},
				BadConfigs: map[string]json.RawMessage{
					"config.size": json.RawMessage(`{"size": 1}`), "config.script": json.RawMessage(`{"script": 1}`),
				},
			})
		})
	}
}

func TestTheLocalDriverKeepsItsPromisesAcrossTheWire(t *testing.T) {
	t.Parallel()
	for name, through := range map[string]func(t *testing.T) drivers.Driver{
		"in this process": func(t *testing.T) drivers.Driver {
			d, err := newLocal(filepath.Join(t.TempDir(), "runtimes"))
			if err != nil {
				t.Fatal(err)
			}
			return plugintest.Wire(t, d)
		},
		"in a worker": func(t *testing.T) drivers.Driver {
			return plugintest.Process(t, workers, "local", filepath.Join(t.TempDir(), "runtimes"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			driverstest.Run(t, driverstest.Features{
				New:        through,
				BadConfigs: map[string]json.RawMessage{"config.path[1]": json.RawMessage(`{"path": ["/bin", "bin"]}`)},
				Posix:      true, WholeTree: true, HostProcesses: true,
			})
		})
	}
}
