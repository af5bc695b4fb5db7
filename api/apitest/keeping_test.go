package apitest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/admission"
)

// Keeping has a configuration whose provider keeps nothing, and one whose provider nobody knows.
func (checker) Keeping(_ context.Context, _ string, config json.RawMessage) admission.Keeping {
	switch {
	case bytes.Contains(config, []byte("/forgetful")):
		return admission.KeepingUnable
	case bytes.Contains(config, []byte("/away")):
		return admission.KeepingUnknown
	}
	return admission.KeepingAble
}

// at adds an environment whose driver has a path.
func (s *server) at(tn tenant, path string, slots int) tenant {
	s.t.Helper()
	env, err := s.admin.AddEnvironment(s.t.Context(), tn.company, wire.AddEnvironment{
		Name: "at" + path[1:], Driver: "local", Config: json.RawMessage(`{"path":"` + path + `"}`), MaxLeases: slots,
	})
	require.NoError(s.t, err)
	tn.env = env
	return tn
}

// A policy that the provider cannot keep is refused at the request, whichever it is, and leaves no trace.
func TestAPolicyThatTheProviderCannotKeepIsRefusedAtTheRequest(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.at(s.tenant("acme"), "/forgetful", 0)
	before := s.head()
	for _, policy := range []string{"reuse_by_environment", "reuse_by_execution_workspace", "retain_on_failure"} {
		in := tn.ask("r")
		in.LeasePolicy, in.ExecutionWorkspaceID = policy, "w"
		_, _, err := tn.client.AcquireLease(t.Context(), tn.company, in)
		p, ok := errors.AsType[*client.Problem](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, []any{409, "unsatisfiable", "leasePolicy", false}, []any{p.Status, p.Code, p.Field, p.Retryable})
		require.Len(t, p.Constraints, 1)
		require.Equal(t, wire.Constraint{
			Constraint: "policy_supported", Detail: "local cannot keep a runtime after its lease, as " + policy + " asks for",
			Remediation: "leave out leasePolicy, which is ephemeral then, or lease an environment whose provider keeps runtimes",
		}, p.Constraints[0])
	}
	require.Equal(t, before, s.head())
	require.Equal(t, wire.LeaseActive, s.lease(tn, "ephemeral").Status)
}

// As long as nobody lives who could say, the request is accepted and its explanation says what is not known.
func TestAPolicyOfWhichNobodyKnowsIsAcceptedAndExplained(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.at(s.tenant("acme"), "/away", 1)
	holder := s.lease(tn, "holder")
	waits := s.queued(tn, "r", func(in *wire.AcquireLease) { in.LeasePolicy = "reuse_by_environment" })
	policies := func(x wire.Explanation) (found []wire.Constraint) {
		for _, c := range x.Constraints {
			if c.Constraint == "policy_supported" {
				found = append(found, c)
			}
		}
		return found
	}
	x := s.explain(tn, waits.ID)
	require.Len(t, policies(x), 1)
	require.True(t, policies(x)[0].OK && policies(x)[0].Unknown && !policies(x)[0].MayPass)
	require.Contains(t, x.Summary, "whether local can keep a runtime after its lease, as reuse_by_environment asks for, is not known")
	require.Empty(t, policies(s.explain(tn, holder.ID)))
	s.released(tn, holder.ID)
	got, err := tn.client.Lease(t.Context(), waits.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, got.Status)
	require.Empty(t, policies(s.explain(tn, waits.ID)), "who has made it knows")
}
