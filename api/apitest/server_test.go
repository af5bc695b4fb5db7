package apitest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations/pgtest"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/runner"
)

// server is an API on a port of its own, with a worker.
type server struct {
	t        *testing.T
	url      string
	api      *api.Server
	http     *http.Server
	store    *pg.Store
	pool     *pgxpool.Pool
	commands *commands.Commands
	models   *runner.Runner
	worker   *worker
	// admin is a key of every company.
	admin     *client.Client
	adminKey  string
	unhealthy atomic.Bool
	log       *syncBuffer
}

type option func(*api.Deps)

func withLimits(l api.Limits) option { return func(d *api.Deps) { d.Limits = l } }

// start starts an API on a schema of its own.
func start(t *testing.T, opts ...option) *server {
	t.Helper()
	return startOn(t, pgtest.Pool(t), "", opts...)
}

// startOn starts an API on a schema that may have a log already; adminKey is a key of it, "" makes one.
func startOn(t *testing.T, pool *pgxpool.Pool, adminKey string, opts ...option) *server {
	t.Helper()
	store, err := pg.Open(t.Context(), pool, pg.Options{PollInterval: 50 * time.Millisecond})
	require.NoError(t, err)
	s := &server{t: t, store: store, pool: pool, commands: commands.New(eventstore.NewLedger(store), vault.InMemory()), adminKey: adminKey, log: &syncBuffer{}}
	hub := eventstore.NewHub()
	renewals := s.commands.WatchRenewals(store.Pulse(), commands.RenewalOptions{Serves: true})
	s.worker = newWorker(s.commands)
	s.models = runner.New(pool, store, catalog.All(), runner.Options{PollInterval: 20 * time.Millisecond})
	deps := api.Deps{
		Commands: s.commands, Node: domain.NodeID{UUID: uuid.New()}, Feed: store, Hub: hub, DB: pool, Projections: s.models, Processes: store.Processes(), Partitions: store, Output: s.worker,
		Checker: checker{}, Log: &keeper{}, Health: s.health, Version: "test", Logger: slog.New(slog.NewTextHandler(s.log, nil)), Metrics: newRegistry(),
	}
	for _, o := range opts {
		o(&deps)
	}
	s.api = api.New(deps)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.url = "http://" + listener.Addr().String()
	s.http = s.api.HTTPServer()

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{}, 4)
	run := func(f func()) {
		go func() {
			f()
			done <- struct{}{}
		}()
	}
	run(func() { _ = s.models.Run(ctx) })
	run(func() { renewals.Run(ctx) })
	ledger := s.commands.Ledger()
	ledger.Heed(func(r eventstore.Recorded) {
		hub.Publish(r)
		s.worker.see(r)
	})
	run(func() { feed(ctx, store, ledger) })
	run(func() { _ = s.http.Serve(listener) })
	t.Cleanup(func() {
		_ = s.api.Shutdown(context.Background())
		_ = s.http.Close()
		cancel()
		for range cap(done) {
			<-done
		}
		s.worker.stop()
		hub.Close()
		store.Close()
	})
	<-s.models.Ready()
	if adminKey == "" {
		s.adminKey = s.addKey(access.RoleAdmin, uuid.Nil)
	}
	s.admin = s.client(s.adminKey)
	return s
}

// feed is what the engine's subscriber does: it tells of every event.
func feed(ctx context.Context, store *pg.Store, ledger *eventstore.Ledger) {
	for after := int64(0); ; {
		changed := store.Changed()
		page, err := store.ReadAll(ctx, after, 0)
		if ctx.Err() != nil {
			return
		}
		if err == nil && len(page) > 0 {
			for _, r := range page {
				ledger.Note(r)
				after = r.Position
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) health(context.Context) error {
	if s.unhealthy.Load() {
		return errors.New("a loop stands still")
	}
	return nil
}

// addKey puts a key into the log, as the engine does with the first one.
func (s *server) addKey(role access.Role, company uuid.UUID) string {
	s.t.Helper()
	k := auth.NewKey(domain.KeyID{UUID: uuid.New()})
	_, err := s.commands.AddKey(s.t.Context(), commands.Caller{}, k.ID, key.Added{
		Company: domain.CompanyID{UUID: company}, Role: role, Name: "a key", Hash: k.Hash(), Principal: domain.PrincipalID{UUID: uuid.New()},
	})
	require.NoError(s.t, err)
	return k.Reveal()
}

func (s *server) client(key string) *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, key, client.WithHTTPClient(&http.Client{Transport: &checkedTransport{t: s.t, next: &http.Transport{}}}))
	require.NoError(s.t, err)
	s.t.Cleanup(c.CloseIdleConnections)
	return c
}

// tenant is a company with an environment and clients of its own.
type tenant struct {
	company uuid.UUID
	env     wire.Environment
	// client has the role client, operator the role operator, admin the role admin, each scoped to the company.
	client, operator, auditor, admin *client.Client
	key                              string
}

func (s *server) tenant(name string) tenant {
	s.t.Helper()
	company, err := s.admin.AddCompany(s.t.Context(), wire.AddCompany{Name: name})
	require.NoError(s.t, err)
	env, err := s.admin.AddEnvironment(s.t.Context(), company.ID, wire.AddEnvironment{Name: "local", Driver: "local", EnvVars: wire.PlainVars(map[string]string{"SECRET": "value-of-" + name})})
	require.NoError(s.t, err)
	key := s.addKey(access.RoleClient, company.ID)
	return tenant{
		company: company.ID, env: env, key: key, client: s.client(key),
		operator: s.client(s.addKey(access.RoleOperator, company.ID)),
		auditor:  s.client(s.addKey(access.RoleAuditor, company.ID)),
		admin:    s.client(s.addKey(access.RoleAdmin, company.ID)),
	}
}

func (tn tenant) ask(run string) wire.AcquireLease {
	return wire.AcquireLease{EnvironmentID: tn.env.ID, HeartbeatRunID: run}
}

// lease acquires an active lease.
func (s *server) lease(tn tenant, run string) wire.Lease {
	s.t.Helper()
	acquired, ready, err := tn.client.AcquireLease(s.t.Context(), tn.company, tn.ask(run), client.Wait(time.Minute))
	require.NoError(s.t, err)
	require.True(s.t, ready)
	return acquired.Lease
}

// raw sends a request as it stands.
func (s *server) raw(key, method, path, body string, header ...string) (*http.Response, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&checkedTransport{t: s.t, next: transport}).RoundTrip(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, answer
}

// problem sends a request that is to be refused.
func (s *server) problem(key, method, path, body string, header ...string) wire.Problem {
	s.t.Helper()
	resp, answer := s.raw(key, method, path, body, header...)
	require.Equal(s.t, wire.TypeProblem, resp.Header.Get("Content-Type"), "%s", answer)
	var p wire.Problem
	require.NoError(s.t, json.Unmarshal(answer, &p))
	require.Equal(s.t, resp.StatusCode, p.Status)
	require.Equal(s.t, resp.Header.Get(wire.HeaderRequestID), p.RequestID)
	require.NotEmpty(s.t, p.Cause)
	require.NotEmpty(s.t, p.Remediation)
	return p
}

func (s *server) head() int64 {
	s.t.Helper()
	head, err := s.store.Head(s.t.Context())
	require.NoError(s.t, err)
	return head.Position
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

// checker knows one driver, local, which takes the fields path, privateKey (a secret, kept as privateKeySecretRef) and token (a
// secret in its own place).
type checker struct{}

func (checker) CheckConfig(_ string, config json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return err
	}
	for name := range fields {
		if !slices.Contains([]string{"path", "privateKey", "privateKeySecretRef", "token"}, name) {
			return domain.Refuse(domain.KindInvalid, "invalid_config", "is unknown to the driver local").On("config." + name).Mend("remove it")
		}
	}
	return nil
}

func (checker) Provider(driver string, _ json.RawMessage) (string, bool) {
	return driver, driver == "local" || driver == "fake"
}

// Unavailable has one configuration whose plugin is off.
func (checker) Unavailable(_ context.Context, _ string, config json.RawMessage) *domain.Refusal {
	if bytes.Contains(config, []byte("/unavailable")) {
		return domain.Refuse(domain.KindConflict, "plugin_disabled", "the plugin that makes them is disabled").Mend("enable it")
	}
	return nil
}

func (checker) SecretFields(_ string, config json.RawMessage) ([]api.SecretField, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	var held []api.SecretField
	_, raw := fields["privateKey"]
	_, ref := fields["privateKeySecretRef"]
	if raw || ref {
		held = append(held, api.SecretField{Value: "/privateKey", Ref: "/privateKeySecretRef"})
	}
	if _, ok := fields["token"]; ok {
		held = append(held, api.SecretField{Value: "/token", Ref: "/token"})
	}
	return held, nil
}
