package redact_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/redact"
)

func TestASecretIsFoundInEveryFormThatItIsWrittenIn(t *testing.T) {
	t.Parallel()
	config := json.RawMessage(`{"a/b": {"token": "tok~en"}, "list": [{"key": "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\n\"quoted\""}], "pin": "123"}`)
	values := redact.Values(config, []drivers.SecretField{
		{Value: "/a~1b/token", Ref: "/a~1b/tokenRef"}, {Value: "/list/0/key"}, {Value: "/pin"}, {Value: "/list/7/key"}, {Value: "/none"},
	})
	require.Equal(t, []string{"tok~en", "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\n\"quoted\"", "123"}, values)

	var forms []string
	for _, v := range values {
		forms = append(forms, redact.Forms(v)...)
	}
	texts := redact.Order(forms)
	for _, said := range []string{
		"refused: tok~en", values[1], `{"key":"-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\n\"quoted\""}`, "line 2: AAAABBBBCCCCDDDD",
	} {
		clean := texts.Clean(said)
		require.Contains(t, clean, redact.Removed)
		for _, form := range forms {
			require.NotContains(t, clean, form)
		}
	}
	require.Equal(t, "pin 123 is too short to hide", texts.Clean("pin 123 is too short to hide"))
	require.Nil(t, redact.Values(json.RawMessage(`no json`), []drivers.SecretField{{Value: "/a"}}))
}

func TestALongerSecretIsNotLeftByHalves(t *testing.T) {
	t.Parallel()
	require.Equal(t, redact.Removed+" "+redact.Removed, redact.Order([]string{"pass", "password-long", "pass"}).Clean("password-long pass"))
}
