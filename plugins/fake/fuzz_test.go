package fake

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

func FuzzALedgerAddsUp(f *testing.F) {
	f.Add([]byte(`{"op":"create","id":"a","runtimeId":"r"}` + "\n" + `{"op":"create","id":"b","runtimeId":"r"}` + "\n" + `{"op":"destroy","id":"a"}` + "\n"))
	f.Add([]byte(`{"op":"create","id":"a"}` + "\n" + `{"op":"create","id":"a"}` + "\n" + `{"op":"destroy","id":"a"}` + "\n" + `{"op":"destroy","id":"a"}` + "\n"))
	f.Add([]byte(`{"op":"hold","id":"x"}` + "\n" + `{"op":"call","scope":"s","steps":[1,-5,99999999]}` + "\n\n[]\nnull\n" + `{"op":"create","id":"torn`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newState()
		require.LessOrEqual(t, s.feed(raw, nil), int64(len(raw)))
		require.Len(t, s.Live(), s.Created()-s.Destroyed())
		named := 0
		for _, ids := range s.named {
			named += len(ids)
		}
		require.Len(t, s.live, named)

		path := LedgerPath(t.TempDir())
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		led, err := ReadLedger(path)
		require.NoError(t, err)
		require.Equal(t, s.Live(), led.Live())
	})
}

func FuzzAConfigurationIsGoodOrNamesItsFields(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"image": "x", "script": [{"verb": "acquire", "action": "crash", "at": "reply", "times": 1}]}`))
	f.Add([]byte(`{"script": [{"verb": "exec", "action": "fail", "bytes": -1}], "image": null}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decodeConfig(raw)
		if err == nil {
			for _, s := range c.Script {
				require.Empty(t, s.validate())
			}
			encoded, err := json.Marshal(c.Script)
			require.NoError(t, err)
			again, err := parseScript(encoded)
			if len(c.Script) > 0 {
				require.NoError(t, err)
				require.Equal(t, c.Script, again)
			}
			return
		}
		problem, ok := errors.AsType[*drivers.ConfigError](err)
		require.True(t, ok)
		require.NotEmpty(t, problem.Problems)
		for _, p := range problem.Problems {
			require.NotEmpty(t, p.Field)
			require.NotEmpty(t, p.Problem)
			require.NotEmpty(t, p.Remediation)
		}
	})
}
