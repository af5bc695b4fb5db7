package domain_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
)

// refusedAs wants an invalid-command refusal that names the field and the way out.
func refusedAs(t *testing.T, err error, code, field string) {
	t.Helper()
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok, "want a refusal %s, got %v", code, err)
	require.Equal(t, domain.KindInvalid, r.Kind)
	require.Equal(t, code, r.Code)
	require.Equal(t, field, r.Field)
	require.NotEmpty(t, r.Remediation)
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "Küche 7", "日本語", strings.Repeat("ü", domain.MaxName), `literal \u0000`} {
		require.NoError(t, domain.CheckName("name", good))
	}
	refusedAs(t, domain.CheckName("name", ""), "missing_field", "name")
	refusedAs(t, domain.CheckName("name", " \t"), "missing_field", "name")
	refusedAs(t, domain.CheckName("name", strings.Repeat("ü", domain.MaxName+1)), "text_too_long", "name")
	for _, bad := range []string{"a\x00b", "a\nb", "a\tb", "a\x7fb", "a\u0085b", "a\xffb", "\xed\xa0\xbd"} {
		refusedAs(t, domain.CheckName("name", bad), "invalid_text", "name")
	}
}

func TestTextMayHaveLinesAndALineMayNot(t *testing.T) {
	t.Parallel()
	require.NoError(t, domain.CheckText("why", "a\r\n\tb", 10))
	require.NoError(t, domain.CheckLine("why", "", 10))
	refusedAs(t, domain.CheckLine("why", "a\nb", 10), "invalid_text", "why")
	refusedAs(t, domain.CheckText("why", "a\x1bb", 10), "invalid_text", "why")
	refusedAs(t, domain.CheckText("why", "12345678901", 10), "text_too_long", "why")
}

func TestEnvironmentNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"A", "MY-KEY", "a.b", "1X", "A B", "A\nB", "A;touch pwn", "Ä", "$(id)"} {
		require.NoError(t, domain.CheckEnvName("env", good))
	}
	refusedAs(t, domain.CheckEnvName("env", ""), "invalid_env_name", "env.")
	refusedAs(t, domain.CheckEnvName("env", "A=B"), "invalid_env_name", "env.A=B")
	refusedAs(t, domain.CheckEnvName("env", "A\x00"), "invalid_env_name", "env.A\x00")
	refusedAs(t, domain.CheckEnvName("env", "A\xff"), "invalid_text", "env.A\xff")
	refusedAs(t, domain.CheckEnvNames("env", []domain.EnvName{{Name: "A"}, {Name: "A"}}), "duplicate_env_name", "env.A")
	require.NoError(t, domain.CheckEnvNames("env", []domain.EnvName{{Name: "A"}, {Name: "a"}}))
}

func TestAValueOfAVariableIsNeverInItsRefusal(t *testing.T) {
	t.Parallel()
	err := domain.CheckEnvVars("envVars", map[string]string{"GOOD": "'$(id)'\n", "TOKEN": "MARK\x00"})
	refusedAs(t, err, "invalid_text", "envVars.TOKEN")
	r, _ := errors.AsType[*domain.Refusal](err)
	require.NotContains(t, r.Message+r.Remediation+r.Error(), "MARK")
	refusedAs(t, domain.CheckEnvVars("envVars", map[string]string{"B=": "", "A=": ""}), "invalid_env_name", "envVars.A=")
}

func TestObjects(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		`{}`, ` {"a":{"b":[1,null]}} `, `{"emoji":"\ud83d\ude00"}`, `{"literal":"\\u0000 \\ud83d"}`, `{"a":"\\\\","b":"\n"}`, `{"a":"\uFFFD"}`,
	} {
		require.NoError(t, domain.CheckObject("config", json.RawMessage(good)), good)
	}
	for _, bad := range []string{``, `null`, `[]`, `"a"`, `1`, `{`, `{"a":1} x`} {
		refusedAs(t, domain.CheckObject("config", json.RawMessage(bad)), "invalid_json", "config")
	}
	for _, bad := range []string{
		`{"a":"\u0000"}`, `{"\u0000":1}`, `{"a":"\\\u0000"}`, `{"a":"\ud83d"}`, `{"a":"\ud83dx"}`, `{"a":"\uDE00"}`,
		`{"a":"\ud83d\n"}`, `{"a":"\ud83d\ud83d\ude00"}`, "{\"a\":\"\xff\"}",
	} {
		refusedAs(t, domain.CheckObject("config", json.RawMessage(bad)), "invalid_text", "config")
	}
}

func TestTheSameJSONInAnotherSpelling(t *testing.T) {
	t.Parallel()
	same := func(a, b string) bool { return domain.SameJSON(json.RawMessage(a), json.RawMessage(b)) }
	require.True(t, same(`{"a":1,"b":{"c":"<"}}`, ` { "b": {"c":"\u003c"}, "a": 1 }`))
	require.True(t, same(``, ``))
	require.False(t, same(``, `{}`))
	require.False(t, same(`{}`, ``))
	require.False(t, same(`{"a":1}`, `{"a":2}`))
	require.False(t, same(`{"a":9007199254740993}`, `{"a":9007199254740992}`))
	require.False(t, same(`{`, `{`))
}

func TestCleanedTextCanAlwaysBeRecorded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := string(rapid.SliceOf(rapid.Byte()).Draw(t, "raw"))
		clean := domain.Clean(raw, 20)
		require.NoError(t, domain.CheckArgument("message", clean))
		require.LessOrEqual(t, utf8.RuneCountInString(clean), 20)
		require.Equal(t, clean, domain.Clean(clean, 20))
	})
	require.Equal(t, "as it is\n", domain.Clean("as it is\n", 20))
	require.Equal(t, "1234…", domain.Clean("123456", 5))
}

func TestARefusalIsNeverChangedInPlace(t *testing.T) {
	t.Parallel()
	plain := domain.Refuse(domain.KindConflict, "held", "held by %s", "somebody")
	on := plain.On("leaseId").Mend("wait")
	require.Equal(t, "held by somebody", plain.Error())
	require.Equal(t, "leaseId: held by somebody", on.Error())
	require.Empty(t, plain.Field)
	require.Empty(t, plain.Remediation)
	require.Equal(t, "wait", on.Remediation)
}

func TestANewerGrantHasTheLargerFenceAlsoAfterAFork(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		position := rapid.Int64Range(1, 1<<domain.FenceBits-1)
		epoch := rapid.Int64Range(1, 1000).Draw(t, "epoch")
		a, b := position.Draw(t, "a"), position.Draw(t, "b")
		older := domain.Meta{Epoch: epoch, Position: a}
		require.Less(t, older.Fence(), domain.Meta{Epoch: epoch + 1, Position: b}.Fence())
		require.Equal(t, a < b, older.Fence() < domain.Meta{Epoch: epoch, Position: b}.Fence())
	})
}

func TestAnIDIsItsTextInJSON(t *testing.T) {
	t.Parallel()
	id := domain.LeaseID{UUID: uuid.MustParse("a0000000-0000-4000-8000-000000000001")}
	text, err := json.Marshal(id)
	require.NoError(t, err)
	require.Equal(t, `"a0000000-0000-4000-8000-000000000001"`, string(text))
	var back domain.LeaseID
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, id, back)
	require.False(t, id.IsZero())
	require.True(t, domain.LeaseID{}.IsZero())
}

func TestFoldGivesEveryFactATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	d := domain.Decider[[]domain.Meta, int, int]{
		Initial: func() []domain.Meta { return nil },
		Evolve:  func(s []domain.Meta, _ int, m domain.Meta) []domain.Meta { return append(s, m) },
	}
	require.Equal(t, []domain.Meta{
		{Position: 1, Version: 1, Epoch: 1, At: time.Unix(1, 0).UTC()},
		{Position: 2, Version: 2, Epoch: 1, At: time.Unix(2, 0).UTC()},
	}, d.Fold([]int{7, 8}))
}

func TestAVariableThatNoProcessCanBeGivenIsRefused(t *testing.T) {
	t.Parallel()
	fits := strings.Repeat("x", domain.MaxArgument-len("A="))
	require.NoError(t, domain.CheckEnvVars("env", map[string]string{"A": fits}))
	err := domain.CheckEnvVars("env", map[string]string{"A": fits + "x"})
	refusal, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok)
	require.Equal(t, "argument_too_long", refusal.Code)
	require.Equal(t, "env.A", refusal.Field)
}
