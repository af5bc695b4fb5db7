package conformance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// workerChecks are about the process, whatever its drivers.
func workerChecks() []check {
	return []check{
		{
			name: "handshake", sentence: "initialize is answered within 15 s with ok and the verbs that are served, and refused the second time",
			run: checkHandshake,
		},
		{
			name: "manifest", sentence: "what the manifest declares and what the worker serves are the same",
			applies: func(s *session) string {
				if s.host.manifest == nil {
					return "there is no manifest"
				}
				return ""
			},
			run: checkManifest,
		},
		{name: "health", sentence: "health is answered with ok, degraded or error", run: checkHealth},
		{name: "unknown_method", sentence: "a method that is not served is refused with -32601, and the worker goes on", run: checkUnknownMethod},
		{name: "junk", sentence: "lines that are no messages do no harm: the next call is answered", run: checkJunk},
		{name: "shutdown", sentence: "shutdown is answered and the worker exits within 10 s", run: checkShutdown},
		{name: "stdin_end", sentence: "the worker ends when the host's end of stdin closes", run: checkStdinEnd},
	}
}

func checkHandshake(ctx context.Context, s *session) error {
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	said := s.host.accepted
	for _, m := range []string{protocol.MethodAcquire, protocol.MethodRelease} {
		if !slices.Contains(said.SupportedMethods, m) {
			return fmt.Errorf("supportedMethods does not have %s", m)
		}
	}
	if said.Tenure != nil && s.opts.NoExtension {
		return errors.New("the extension is accepted, and was not offered")
	}
	if said.Tenure != nil && said.Tenure.Version != protocol.ExtensionVersion {
		return fmt.Errorf("version %d of the extension is accepted, and %d was offered", said.Tenure.Version, protocol.ExtensionVersion)
	}
	if _, err := s.host.initialize(ctx, w); err == nil {
		return errors.New("a second initialize is accepted")
	}
	return nil
}

func checkManifest(ctx context.Context, s *session) error {
	said, err := s.host.handshake(ctx)
	if err != nil {
		return err
	}
	m := s.host.manifest
	if len(m.Drivers) == 0 {
		return errors.New("the manifest declares no driver")
	}
	has := func(method string) bool { return slices.Contains(said.SupportedMethods, method) }
	reusable := has(protocol.MethodResume) && has(protocol.MethodRelease) && has(protocol.MethodDestroy)
	for _, d := range m.Drivers {
		if d.ReusableLeases && !reusable {
			return fmt.Errorf("driver %s declares reusable leases, and resume, release and destroy are not all served", d.Key)
		}
		if said.Tenure == nil {
			continue
		}
		live, ok := said.Tenure.Drivers[d.Key]
		if !ok || d.Tenure == nil {
			if ok != (d.Tenure != nil) {
				return fmt.Errorf("driver %s is only in one of the manifest's tenure.drivers and the handshake", d.Key)
			}
			continue
		}
		if !reflect.DeepEqual(*d.Tenure, live) {
			return fmt.Errorf("driver %s: the manifest says %+v and the handshake %+v", d.Key, *d.Tenure, live)
		}
		if drivers.Class(live.Class) == drivers.ClassListable && !live.List {
			return fmt.Errorf("driver %s is listable and does not list", d.Key)
		}
	}
	if said.Tenure != nil {
		for key := range said.Tenure.Drivers {
			if _, ok := m.Driver(key); !ok {
				return fmt.Errorf("driver %s is served and not in the manifest", key)
			}
		}
	}
	return nil
}

func checkHealth(ctx context.Context, s *session) error {
	var h protocol.HealthResult
	if err := s.call(ctx, "", protocol.MethodHealth, nil, &h); err != nil {
		return err
	}
	if !slices.Contains([]string{"ok", "degraded", "error"}, h.Status) {
		return fmt.Errorf("the status is %q", h.Status)
	}
	return nil
}

func checkUnknownMethod(ctx context.Context, s *session) error {
	err := s.call(ctx, "", "environmentDoesNotExist", struct{}{}, nil)
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		return cmp.Or(err, errors.New("it is answered as if it were served"))
	}
	if e.Code != protocol.CodeMethodNotFound && e.Code != protocol.CodeMethodNotImplemented {
		return fmt.Errorf("the code is %d", e.Code)
	}
	return checkHealth(ctx, s)
}

// junkLines are what a host never means.
var junkLines = []string{
	"", "hello", "{", `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","id":1,"method":"health"}`, `[{"jsonrpc":"2.0","id":1,"method":"health"}]`, "null", "\x00\xff\xfe",
	`{"jsonrpc":"2.0","id":"never asked","result":1}`, `{"jsonrpc":"2.0","method":"no/such/notification","params":{}}`,
	`{"jsonrpc":"2.0","method":"$/cancel","params":{"id":"never asked"}}`,
}

func checkJunk(ctx context.Context, s *session) error {
	// A worker of its own, and its pipe without a connection: no connection writes such lines.
	w, err := s.host.startRaw()
	if err != nil {
		return err
	}
	defer w.kill()
	for _, line := range junkLines {
		if err := w.send(line); err != nil {
			return w.explain(fmt.Errorf("after %q: %w", line, err))
		}
	}
	if err := w.send(`{"jsonrpc":"2.0","id":"last","method":"health"}`); err != nil {
		return w.explain(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.CallTimeout, errors.New("health is not answered any more"))
	defer cancel()
	for {
		line, err := w.next(ctx)
		if err != nil {
			return w.explain(err)
		}
		var reply struct {
			ID     json.RawMessage `json:"id"`
			Result json.RawMessage `json:"result"`
		}
		if json.Unmarshal(line, &reply) == nil && string(reply.ID) == `"last"` {
			if reply.Result == nil {
				return fmt.Errorf("health is answered with %q", clip(line))
			}
			return nil
		}
	}
}

func checkShutdown(ctx context.Context, s *session) error {
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.call(ctx, "", protocol.MethodShutdown, nil, nil); err != nil {
		return err
	}
	if err := w.gone(ctx, max(10*time.Second-time.Since(began), 0)); err != nil {
		return err
	}
	if !w.cmd.ProcessState.Success() {
		return fmt.Errorf("it ends with %v", w.cmd.ProcessState)
	}
	return nil
}

func checkStdinEnd(ctx context.Context, s *session) error {
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return w.gone(ctx, 5*time.Second)
}
