package environment_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
)

func TestTheLongestTTLIsASettingWithADefault(t *testing.T) {
	t.Parallel()
	s := registered(t)
	require.Equal(t, 48*time.Hour, s.State().MaxTTL())
	next := s.State().Settings()
	s.When(environment.Reconfigure{Reconfigured: next}).Nothing()
	next.MaxTTLMs = 0
	require.Equal(t, 720*time.Hour, s.When(environment.Reconfigure{Reconfigured: next}).Then(next).State().MaxTTL())
	bare := domaintest.EnvironmentRegistered()
	bare.MaxTTLMs = 0
	require.Equal(t, 720*time.Hour, domaintest.Given(t, environment.Decider).When(environment.Register{Registered: bare}).Then(bare).State().MaxTTL())
}
