package node_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/node"
)

func given(t *testing.T, facts ...node.Event) domaintest.Scenario[node.State, node.Command, node.Event] {
	t.Helper()
	return domaintest.Given[node.State, node.Command, node.Event](t, node.Decider, facts...)
}

var burned = node.Forgotten{Reason: "it burned", Hostname: "build-7"}

func TestANodeIsForgottenOnceUntilItIsBack(t *testing.T) {
	t.Parallel()
	given(t).When(node.Return{Worker: domaintest.Worker}).Nothing()
	s := given(t).When(node.Forget{Forgotten: burned}).Then(burned)
	require.True(t, s.State().Forgotten)
	require.Equal(t, "it burned", s.State().Reason)
	s.When(node.Forget{Forgotten: node.Forgotten{Reason: "again"}}).Nothing()
	back := s.When(node.Return{Worker: domaintest.Worker}).Then(node.Returned{Worker: domaintest.Worker})
	require.False(t, back.State().Forgotten)
	require.NotZero(t, back.State().ForgottenAt, "it is remembered")
	back.When(node.Return{Worker: domaintest.Worker}).Nothing()
	back.When(node.Forget{Forgotten: burned}).Then(burned)
}

func TestANodeIsForgottenForAReason(t *testing.T) {
	t.Parallel()
	given(t).When(node.Forget{}).Refused(domain.KindInvalid, "missing_field", "reason")
	given(t, burned).When(node.Forget{}).Refused(domain.KindInvalid, "missing_field", "reason")
	given(t).When(node.Forget{Forgotten: node.Forgotten{Reason: "\x00"}}).Refused(domain.KindInvalid, "invalid_text", "reason")
	given(t).When(node.Forget{Forgotten: node.Forgotten{Reason: strings.Repeat("x", domain.MaxMessage+1)}}).Refused(domain.KindInvalid, "text_too_long", "reason")
	given(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}
