// Package conformance tells whether a worker, in whatever language, does what an engine relies on.
//
//	report, err := conformance.Run(ctx, conformance.Target{Dir: "./my-plugin"}, conformance.Options{})
//	report.WriteTable(os.Stdout)
//	if report.Failed() > 0 { … }
//
// It starts the worker as an engine does, speaks to it as an engine does, and judges each answer by one sentence of the
// contract. A check that does not apply, because the worker does not claim what it is about, says why. Nothing here needs
// an engine or package testing.
//
// The checks make real runtimes, a few dozen for each driver, and take them down again.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// Target is the worker: either Dir or Command.
type Target struct {
	// Dir is a plugin as npm installs it: package.json, a manifest and a worker.
	Dir string
	// Command is a program with its arguments that is the worker.
	Command []string
	// Manifest is a command's manifest, if there is one.
	Manifest json.RawMessage
	// Node runs workers that are JavaScript; "" looks it up.
	Node string
	// Env are further variables of the worker, as NAME=value.
	Env []string
	// As is whom the worker and the module of its manifest run as, where the caller is root; nil is the caller.
	As *manifest.Credential
}

// Options of a run. The zero value is complete.
type Options struct {
	// Drivers are the keys to check; none is all that the manifest or the handshake names.
	Drivers []string
	// Config is a configuration that works; nil is {}.
	Config json.RawMessage
	// NoExtension checks the worker as a host does that knows the published protocol only.
	NoExtension bool
	// CallTimeout bounds one call; 0 is 30 s.
	CallTimeout time.Duration
	// OutputBytes is how much one command writes in the check of large outputs; 0 is 5 MB.
	OutputBytes int
	// Only runs the checks of these names; none is all.
	Only []string
	// Progress, if set, is told each result as it is there.
	Progress func(Result)
}

func (o Options) defaults() Options {
	if o.Config == nil {
		o.Config = json.RawMessage(`{}`)
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	if o.OutputBytes <= 0 {
		o.OutputBytes = 5_000_000
	}
	if o.Progress == nil {
		o.Progress = func(Result) {}
	}
	return o
}

// Status is how a check went.
type Status string

// The statuses.
const (
	Pass          Status = "pass"
	Fail          Status = "fail"
	NotApplicable Status = "not_applicable"
)

// Result is one check of one driver, or, with Driver "", of the worker as a whole.
type Result struct {
	Driver string `json:"driver,omitempty"`
	Check  string `json:"check"`
	// Sentence is what the contract says.
	Sentence string `json:"sentence"`
	Status   Status `json:"status"`
	// Detail says what went wrong, or why the check does not apply.
	Detail string  `json:"detail,omitempty"`
	Ms     float64 `json:"ms"`
}

// Report is a whole run.
type Report struct {
	Worker string `json:"worker"`
	// Plugin and Version are the manifest's; "" without one.
	Plugin  string `json:"plugin,omitempty"`
	Version string `json:"version,omitempty"`
	// Extension says that the worker speaks Tenure's extension of the protocol.
	Extension bool     `json:"extension"`
	Results   []Result `json:"results"`
}

// Failed counts the checks that failed.
func (r Report) Failed() (n int) {
	for _, one := range r.Results {
		if one.Status == Fail {
			n++
		}
	}
	return n
}

// check is one sentence of the contract and how to find out.
type check struct {
	name, sentence string
	// applies says why the check does not apply; "" if it does.
	applies func(s *session) string
	run     func(ctx context.Context, s *session) error
}

// Run checks a worker. Its error says that there was nothing to check: no such plugin, or a manifest that cannot be read.
func Run(ctx context.Context, t Target, o Options) (Report, error) {
	o = o.defaults()
	host, report, err := prepare(ctx, t, o)
	if err != nil {
		return Report{}, err
	}
	defer host.end()
	s := &session{host: host, opts: o}
	first := results(ctx, s, workerChecks())
	report.Results = first
	accepted, err := host.handshake(ctx)
	if err != nil {
		if report.Failed() == 0 {
			report.Results = append(report.Results, Result{
				Check: "handshake", Sentence: "initialize is answered", Status: Fail, Detail: err.Error(),
			})
		}
		return report, nil // without a handshake there is nothing more to ask
	}
	report.Extension = accepted.Tenure != nil
	keys, err := keysOf(host.manifest, accepted, o)
	if err != nil {
		return Report{}, err
	}
	for _, key := range keys {
		d := newSession(host, o, key, accepted)
		report.Results = append(report.Results, results(ctx, d, driverChecks())...)
	}
	return report, nil
}

// prepare finds the worker and its manifest.
func prepare(ctx context.Context, t Target, o Options) (*host, Report, error) {
	h := &host{opts: o, env: t.Env, as: t.As, installation: "conformance-" + uuid.NewString()}
	switch {
	case (t.Dir == "") == (len(t.Command) == 0):
		return nil, Report{}, errors.New("conformance: name either a directory or a command")
	case t.Dir != "":
		p, err := manifest.ReadPackage(ctx, t.Dir, manifest.ReadOptions{Node: t.Node, As: t.As})
		if err != nil {
			return nil, Report{}, fmt.Errorf("conformance: read the plugin in %s: %w", t.Dir, err)
		}
		h.manifest = &p.Manifest
		if h.command, err = p.Manifest.Command(t.Dir, t.Node); err != nil {
			return nil, Report{}, fmt.Errorf("conformance: %w", err)
		}
	default:
		h.command = t.Command
		if t.Manifest != nil {
			m, err := manifest.Parse(t.Manifest)
			if err != nil {
				return nil, Report{}, fmt.Errorf("conformance: %w", err)
			}
			h.manifest = &m
		}
	}
	report := Report{Worker: strings.Join(h.command, " ")}
	if h.manifest != nil {
		report.Plugin, report.Version = h.manifest.ID, h.manifest.Version
	}
	return h, report, nil
}

// keysOf are the drivers to check.
func keysOf(m *manifest.Manifest, accepted protocol.InitializeResult, o Options) ([]string, error) {
	if len(o.Drivers) > 0 {
		return o.Drivers, nil
	}
	if m != nil {
		var keys []string
		for _, d := range m.Drivers {
			keys = append(keys, d.Key)
		}
		return keys, nil
	}
	if accepted.Tenure != nil {
		return slices.Sorted(maps.Keys(accepted.Tenure.Drivers)), nil
	}
	return nil, errors.New("conformance: neither a manifest nor the handshake names a driver; name one yourself")
}

// results runs checks one after the other.
func results(ctx context.Context, s *session, checks []check) []Result {
	var all []Result
	for _, c := range checks {
		if len(s.opts.Only) > 0 && !slices.Contains(s.opts.Only, c.name) {
			continue
		}
		r := one(ctx, s, c)
		s.opts.Progress(r)
		all = append(all, r)
	}
	return all
}

func one(ctx context.Context, s *session, c check) Result {
	r := Result{Driver: s.key, Check: c.name, Sentence: c.sentence, Status: Pass}
	began := time.Now()
	defer func() { r.Ms = float64(time.Since(began).Microseconds()) / 1000 }()
	if c.applies != nil {
		if why := c.applies(s); why != "" {
			r.Status, r.Detail = NotApplicable, why
			return r
		}
	}
	// Ten calls' worth: a check that hangs is a check that fails.
	ctx, cancel := context.WithTimeoutCause(ctx, 10*s.opts.CallTimeout, errors.New("the check took too long"))
	defer cancel()
	err := c.run(ctx, s)
	if cleanup := s.releaseAll(ctx); err == nil {
		err = cleanup
	}
	if err != nil {
		r.Status, r.Detail = Fail, oneLine(err.Error())
	}
	return r
}

// oneLine makes a detail a cell of a table.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// session is one driver of the worker under test; key is "" for the worker as a whole.
type session struct {
	host *host
	opts Options
	key  string
	// class is what the driver claims; blind where the published protocol says nothing.
	class   drivers.Class
	about   protocol.TenureDriver
	ext     bool
	methods map[string]bool
	open    []*lease
	shell   *bool // whether commands are programs of a POSIX system
}

func newSession(h *host, o Options, key string, accepted protocol.InitializeResult) *session {
	s := &session{host: h, opts: o, key: key, class: drivers.ClassBlind, methods: map[string]bool{}}
	for _, m := range accepted.SupportedMethods {
		s.methods[m] = true
	}
	if accepted.Tenure != nil {
		s.ext = true
		s.about = accepted.Tenure.Drivers[key]
		if s.about.Class != "" {
			s.class = drivers.Class(s.about.Class)
		}
	}
	return s
}
