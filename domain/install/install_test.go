package install_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/plugin"
)

var wish = install.Requested{Source: "/opt/acme", Node: domaintest.Node}

func TestAWishEndsOnce(t *testing.T) {
	t.Parallel()
	done := install.Completed{Plugin: plugin.IDOf("acme"), Version: "1"}
	failed := install.Failed{Code: "manifest_invalid", Message: "no"}
	s := domaintest.Given(t, install.Decider).When(install.Request{Requested: wish}).Then(wish)
	s.When(install.Request{Requested: wish}).Refused(domain.KindConflict, "plugin_install_exists", "")
	good := s.When(install.Complete{Completed: done}).Then(done)
	require.Equal(t, install.StatusDone, good.State().Status)
	good.When(install.Fail{Failed: failed}).Nothing()
	bad := s.When(install.Fail{Failed: failed}).Then(failed)
	require.Equal(t, install.StatusFailed, bad.State().Status)
	bad.When(install.Complete{Completed: done}).Nothing()
	s.When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestAWishNeedsAPath(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"", "acme", "./acme", "/a\x00b"} {
		given := wish
		given.Source = source
		r := domaintest.Given(t, install.Decider).When(install.Request{Requested: given})
		if source == "/a\x00b" {
			r.Refused(domain.KindInvalid, "invalid_text", "source")
			continue
		}
		r.Refused(domain.KindInvalid, "invalid_path", "source")
	}
	domaintest.Given(t, install.Decider).When(install.Fail{}).Refused(domain.KindNotFound, "plugin_install_not_found", "")
}
