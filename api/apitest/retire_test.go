package apitest_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func TestAnEnvironmentWithLeasesIsNotEndedAndListsThem(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	for name, end := range map[string]func() error{
		"archive": func() error {
			_, err := tn.operator.ArchiveEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
			return err
		},
		"delete": func() error {
			_, err := tn.operator.DeleteEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
			return err
		},
	} {
		refused, ok := errors.AsType[*client.Problem](end())
		require.True(t, ok, name)
		require.Equal(t, "environment_in_use", refused.Code)
		require.Equal(t, 409, refused.Status)
		require.Equal(t, []wire.Blocker{{Kind: "lease", ID: l.ID.String(), Status: "active"}}, refused.Blockers)
		require.Contains(t, refused.Remediation, "force=true")
	}
	env, err := tn.client.Environment(t.Context(), tn.env.ID)
	require.NoError(t, err)
	require.Equal(t, "active", env.Status, "nothing has changed")

	company, err := tn.operator.PatchCompany(t.Context(), tn.company, map[string]any{"defaultEnvironmentId": tn.env.ID})
	require.NoError(t, err)
	require.Equal(t, tn.env.ID, *company.DefaultEnvironmentID)
	_, err = tn.operator.DeleteEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
	refused, ok := errors.AsType[*client.Problem](err)
	require.True(t, ok)
	require.Equal(t, wire.Blocker{Kind: "default", ID: tn.company.String(), Status: "default"}, refused.Blockers[0])
	require.Len(t, refused.Blockers, 2)

	_, err = tn.client.ReleaseLease(t.Context(), l.ID, wire.Release{}, client.Wait(soon))
	require.NoError(t, err)
	env, err = tn.operator.DeleteEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{Force: true})
	require.NoError(t, err)
	require.Equal(t, "deleted", env.Status)
	list, err := tn.operator.Companies(t.Context(), client.MinPosition(env.Position))
	require.NoError(t, err)
	require.Nil(t, list.Items[0].DefaultEnvironmentID, "nor is it anybody's default")
	env, err = tn.operator.DeleteEnvironment(t.Context(), tn.env.ID, wire.RetireEnvironment{})
	require.NoError(t, err, "doing so again changes nothing")
	require.Equal(t, "deleted", env.Status)
	_, _, err = tn.client.AcquireLease(t.Context(), tn.company, wire.AcquireLease{EnvironmentID: tn.env.ID, HeartbeatRunID: "r"})
	require.Error(t, err)
	got, err := tn.client.Lease(t.Context(), l.ID)
	require.NoError(t, err, "its history stays")
	require.Equal(t, wire.LeaseReleased, got.Status)
}
