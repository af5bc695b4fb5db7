package plugin_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/plugin"
)

func TestAPluginIsInstalledEnabledAndKeepsEveryVersion(t *testing.T) {
	t.Parallel()
	one := domaintest.PluginInstalled()
	s := domaintest.Given(t, plugin.Decider).When(plugin.Install{Installed: one}).Then(one, plugin.Enabled{})
	require.Equal(t, plugin.StatusEnabled, s.State().Status)
	s.When(plugin.Install{Installed: one}).Nothing()

	two := one
	two.Version, two.Digest = "1.3.0", "other"
	s = s.When(plugin.Install{Installed: two}).Then(two)
	require.Equal(t, "1.3.0", s.State().Version)
	require.Len(t, s.State().Versions, 2)
	old, ok := s.State().Find("1.2.0")
	require.True(t, ok)
	require.Equal(t, one, old)
	require.Equal(t, time.Unix(1, 0).UTC(), s.State().Versions[0].At)
	current, ok := s.State().Current()
	require.True(t, ok)
	require.Equal(t, two, current)

	back := s.When(plugin.Install{Installed: one}).Then(one)
	require.Equal(t, "1.2.0", back.State().Version, "the way back is to install the former version again")
}

func TestAVersionNeverChangesWhatItIs(t *testing.T) {
	t.Parallel()
	one := domaintest.PluginInstalled()
	s := domaintest.Given(t, plugin.Decider).When(plugin.Install{Installed: one}).Then(one, plugin.Enabled{})
	one.Digest = "other"
	s.When(plugin.Install{Installed: one}).Refused(domain.KindConflict, "plugin_version_changed", "version")
	one.Key = "acme.others"
	s.When(plugin.Install{Installed: one}).Refused(domain.KindConflict, "plugin_exists", "")
}

func TestAPluginIsDisabledAndEnabledAgain(t *testing.T) {
	t.Parallel()
	one := domaintest.PluginInstalled()
	s := domaintest.Given(t, plugin.Decider).When(plugin.Install{Installed: one}).Then(one, plugin.Enabled{})
	s.When(plugin.Enable{}).Nothing()
	off := s.When(plugin.Disable{Reason: "broken"}).Then(plugin.Disabled{Reason: "broken"})
	require.Equal(t, "broken", off.State().Reason)
	off.When(plugin.Disable{}).Nothing()
	two := one
	two.Version = "2"
	off.When(plugin.Install{Installed: two}).Then(two)
	on := off.When(plugin.Enable{}).Then(plugin.Enabled{})
	require.Equal(t, plugin.StatusEnabled, on.State().Status)
	require.Empty(t, on.State().Reason)
	require.Equal(t, 2, on.When(plugin.Disable{}).Then(plugin.Disabled{}).When(plugin.Enable{}).Then(plugin.Enabled{}).State().Disables)
}

func TestWhatIsNoPluginIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil       func(*plugin.Installed)
		code, field string
	}{
		"no key":           {func(e *plugin.Installed) { e.Key = "" }, "invalid_plugin_key", "key"},
		"key with a slash": {func(e *plugin.Installed) { e.Key = "a/b" }, "invalid_plugin_key", "key"},
		"no version":       {func(e *plugin.Installed) { e.Version = "" }, "missing_field", "version"},
		"version of lines": {func(e *plugin.Installed) { e.Version = "1\n2" }, "invalid_text", "version"},
		"no manifest":      {func(e *plugin.Installed) { e.Manifest = nil }, "invalid_json", "manifest"},
		"manifest of null": {func(e *plugin.Installed) { e.Manifest = json.RawMessage("null") }, "invalid_json", "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := domaintest.PluginInstalled()
			tc.spoil(&e)
			domaintest.Given(t, plugin.Decider).When(plugin.Install{Installed: e}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
	domaintest.Given(t, plugin.Decider).When(plugin.Enable{}).Refused(domain.KindNotFound, "plugin_not_found", "")
	one := domaintest.PluginInstalled()
	domaintest.Given(t, plugin.Decider).When(plugin.Install{Installed: one}).Then(one, plugin.Enabled{}).
		When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestTheIDOfAPluginFollowsFromItsKey(t *testing.T) {
	t.Parallel()
	require.Equal(t, "bc5a1ec5", plugin.IDOf("a").String()[:8], "it is in every log")
	require.NotEqual(t, plugin.IDOf("a"), plugin.IDOf("b"))
}
