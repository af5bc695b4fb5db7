package plugintest_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	inprocess "github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/drivers/rundir/rundirtest"
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
		"bare": {NoExec: true, NoList: true, NoCheckConfig: true, NoKeep: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var behind driverstest.Behind[*inprocess.Driver] // the wire
			driverstest.Run(t, driverstest.Features{
				New: func(t *testing.T) drivers.Driver {
					inner := inprocess.New(opts)
					return behind.Add(plugintest.Wire(t, inner), inner)
				},
				Lose: func(_ *testing.T, d drivers.Driver, h drivers.Handle) { behind.Of(d).Lose(h.RuntimeID) },
				Usurp: usurpers(opts.Class, func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
					other := behind.Of(d).Usurp(h.RuntimeID)
					return func() { require.Contains(t, behind.Of(d).Live(), other) }
				}),
				BadConfigs: map[string]json.RawMessage{
					"config.size": json.RawMessage(`{"size": 1}`), "config.image": json.RawMessage(`{"image": 1}`),
				},
			})
		})
	}
}

// usurpers are for a driver that knows runtimes by the engine's ids; the others know each by its own name.
func usurpers(class drivers.Class, another driverstest.Usurper) map[string]driverstest.Usurper {
	if class == drivers.ClassListable || class == drivers.ClassBlind {
		return nil
	}
	return map[string]driverstest.Usurper{"another instance": another}
}

func TestTheFakeKeepsItsPromisesAcrossTheWire(t *testing.T) {
	t.Parallel()
	for _, class := range classes {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			var dirs driverstest.Behind[string]
			world := func(t *testing.T, d drivers.Driver) *fake.World {
				w, err := fake.Open(fake.Options{Dir: dirs.Of(d)})
				require.NoError(t, err)
				return w
			}
			driverstest.Run(t, driverstest.Features{
				New: func(t *testing.T) drivers.Driver {
					dir := t.TempDir()
					return dirs.Add(plugintest.Process(t, workers, "fake", dir, string(class)), dir)
				},
				Lose: func(t *testing.T, d drivers.Driver, h drivers.Handle) {
					w := world(t, d)
					require.NoError(t, w.Lose(h.RuntimeID))
					require.NoError(t, w.Close())
				},
				Usurp: usurpers(class, func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
					w := world(t, d)
					require.NoError(t, w.Usurp(h.RuntimeID, "sandbox://somebody"))
					require.NoError(t, w.Close())
					return func() {
						led, err := fake.ReadLedger(fake.LedgerPath(dirs.Of(d)))
						require.NoError(t, err)
						require.Equal(t, "somebody else", led.Live()[0].Installation)
					}
				}),
				BadConfigs: map[string]json.RawMessage{
					"config.size": json.RawMessage(`{"size": 1}`), "config.script": json.RawMessage(`{"script": 1}`),
				},
			})
		})
	}
}

func TestTheLocalDriverKeepsItsPromisesAcrossTheWire(t *testing.T) {
	t.Parallel()
	for name, through := range map[string]func(t *testing.T, root string) drivers.Driver{
		"in this process": func(t *testing.T, root string) drivers.Driver {
			d, err := newLocal(root)
			if err != nil {
				t.Fatal(err)
			}
			return plugintest.Wire(t, d)
		},
		"in a worker": func(t *testing.T, root string) drivers.Driver {
			return plugintest.Process(t, workers, "local", root)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var roots driverstest.Behind[string]
			driverstest.Run(t, rundirtest.Keeps(driverstest.Features{
				New: func(t *testing.T) drivers.Driver {
					root := filepath.Join(t.TempDir(), "runtimes")
					return roots.Add(through(t, root), root)
				},
				Peer: func(t *testing.T, d drivers.Driver) drivers.Driver {
					return roots.Add(through(t, roots.Of(d)), roots.Of(d))
				},
				BadConfigs: map[string]json.RawMessage{"config.path[1]": json.RawMessage(`{"path": ["/bin", "bin"]}`)},
				Posix:      true, WholeTree: true, HostProcesses: true,
			}, roots.Of))
		})
	}
}
