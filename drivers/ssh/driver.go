package ssh

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/activity"
)

// Driver makes runtimes on hosts reached by SSH.
type Driver struct {
	opts Options

	mu     sync.Mutex
	pools  map[string]*pool
	active activity.Runtimes[*process]
	closed bool
}

// New returns a driver.
func New(opts Options) (*Driver, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("driver ssh: %w", err)
	}
	return &Driver{opts: opts, pools: make(map[string]*pool)}, nil
}

// Close ends every connection. Commands that run end as unknown, and their hosts end them.
func (d *Driver) Close() {
	d.mu.Lock()
	d.closed = true
	pools := d.pools
	d.pools = nil
	d.mu.Unlock()
	for _, p := range pools {
		p.close()
	}
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: "ssh", Provider: "ssh", Class: drivers.ClassIdempotent, Isolation: "host",
		Capabilities: drivers.Capabilities{Exec: true, List: true, CheckConfig: true, Probe: true, Keep: true},
	}
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(config json.RawMessage) error {
	_, err := decodeConfig(config, true)
	return err
}

// place is an environment and the connections to it, which other environments may share.
type place struct {
	*pool
	c config
}

// place returns the connections for c.
func (d *Driver) place(c config) place { return place{d.pool(c), c} }

func (d *Driver) pool(c config) *pool {
	key := poolKey(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.pools[key]
	if ok {
		p.touch()
		return p
	}
	p = &pool{opts: d.opts, target: c, dialing: make(map[string]*dialCall), changed: make(chan struct{}), closed: d.closed, touched: time.Now()}
	if !d.closed {
		for k, other := range d.pools { // environments come and go; nobody holds a pool for so long without a connection
			if other.unused() && other.idleFor() > forgetAfter {
				delete(d.pools, k)
			}
		}
		d.pools[key] = p
	}
	return p
}

// forgetAfter is how long a pool without connections is kept.
const forgetAfter = time.Hour

// configOf is the configuration of a verb.
func configOf(raw json.RawMessage) (config, error) {
	c, err := decodeConfig(raw, false)
	if err != nil {
		return c, drivers.BadConfig(err)
	}
	return c, nil
}

// metadata is what the driver says of a runtime.
type metadata struct {
	// HostKey and JumpHostKeys are what this lease trusts, where that is not decided by the configuration.
	HostKey      string   `json:"hostKey"`
	JumpHostKeys []string `json:"jumpHostKeys"`
	URL          *string  `json:"paperclipApiUrl"`
	// Machine tells the host from another one that may come to have its address; "" where it does not say.
	Machine string `json:"machine"`
}

// pinsOf are the keys that the servers of a runtime must show; nil where the configuration decides, or nothing is known.
func pinsOf(raw json.RawMessage) ([]string, metadata) {
	var m metadata
	if json.Unmarshal(raw, &m) != nil || m.HostKey == "" {
		return nil, m
	}
	return append(m.JumpHostKeys, m.HostKey), m
}

// plainName is a word in every shell.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// checkRuntimeID refuses an id that is not the name of one directory and one marker.
func checkRuntimeID(id string) error {
	if len(id) > 200 || !plainName.MatchString(id) || strings.HasSuffix(id, ".gone") {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "bad_runtime_id", Step: "check_id",
			Remediation: "use an id of 1 to 200 letters, digits, '.', '_' and '-' that begins with a letter or digit",
			Err:         errors.New("the runtime id is not usable as the name of a directory"),
		}
	}
	return nil
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Keeper        = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
	_ drivers.SecretHolder  = (*Driver)(nil)
)
