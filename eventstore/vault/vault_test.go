package vault_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

func company() domain.CompanyID { return domain.CompanyID{UUID: uuid.New()} }

func newVault(t testing.TB, k *vault.Keyset) *vault.Vault {
	t.Helper()
	v, err := vault.New(k)
	require.NoError(t, err)
	return v
}

func newKeyset(t testing.TB) *vault.Keyset {
	t.Helper()
	k, err := vault.NewKeyset()
	require.NoError(t, err)
	return k
}

func TestASealedValueOpensUnderItsBindingAndNoOther(t *testing.T) {
	t.Parallel()
	v := vault.InMemory()
	a, b := company(), company()
	s1, s2 := domain.SecretID{UUID: uuid.New()}, domain.SecretID{UUID: uuid.New()}
	id := uuid.New()
	lease := eventstore.StreamOf("lease", id)
	bindings := []vault.Binding{
		vault.OfSecret(a, s1, 1), vault.OfSecret(a, s1, 2), vault.OfSecret(a, s2, 1), vault.OfSecret(b, s1, 1), vault.OfSecret(a, s1, 256),
		vault.OfInput(a, lease, id), vault.OfInput(b, lease, id), vault.OfInput(a, "lease-", id), vault.OfInput(a, lease, uuid.New()),
		vault.OfInput(a, "", s1.UUID), {},
	}
	for i, own := range bindings {
		sealed, err := v.Seal([]byte("MARK"), own)
		require.NoError(t, err)
		require.NotContains(t, string(sealed), "MARK")
		require.Len(t, sealed, len("MARK")+vault.Overhead)
		for j, other := range bindings {
			value, err := v.Open(sealed, other)
			if i == j {
				require.NoError(t, err)
				require.Equal(t, "MARK", string(value))
				continue
			}
			require.ErrorIs(t, err, vault.ErrDamaged, "%d opens as %d", i, j)
			require.Nil(t, value)
		}
	}
}

func TestWhatWasAlteredDoesNotOpen(t *testing.T) {
	t.Parallel()
	v, b := vault.InMemory(), vault.OfSecret(company(), domain.SecretID{UUID: uuid.New()}, 1)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		sealed, err := v.Seal(value, b)
		require.NoError(t, err)
		opened, err := v.Open(sealed, b)
		require.NoError(t, err)
		require.True(t, bytes.Equal(value, opened))
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		sealed[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		_, err = v.Open(sealed, b)
		require.ErrorIs(t, err, vault.ErrDamaged)
		_, err = v.Open(sealed[:at], b)
		require.ErrorIs(t, err, vault.ErrDamaged)
	})
}

func TestAfterARotationTheNewKeySealsAndTheOldOnesOpen(t *testing.T) {
	t.Parallel()
	first := newKeyset(t)
	b := vault.OfSecret(company(), domain.SecretID{UUID: uuid.New()}, 1)
	old, err := newVault(t, first).Seal([]byte("old"), b)
	require.NoError(t, err)

	second, err := first.Rotate()
	require.NoError(t, err)
	require.NotEqual(t, first.Primary(), second.Primary())
	require.Equal(t, []vault.Key{{ID: first.Primary()}, {ID: second.Primary(), Primary: true}}, second.Keys())
	v := newVault(t, second)
	value, err := v.Open(old, b)
	require.NoError(t, err)
	require.Equal(t, "old", string(value))
	fresh, err := v.Seal([]byte("new"), b)
	require.NoError(t, err)
	require.Equal(t, second.Primary(), vault.KeyOf(fresh))
	require.Equal(t, first.Primary(), vault.KeyOf(old))
	_, err = newVault(t, first).Open(fresh, b)
	require.ErrorIs(t, err, vault.ErrDamaged)

	_, err = second.Destroy(second.Primary())
	require.ErrorIs(t, err, vault.ErrPrimary)
	_, err = second.Destroy(first.Primary() + second.Primary())
	require.ErrorIs(t, err, vault.ErrNoKey)
	doomed, err := second.Doom(first.Primary())
	require.NoError(t, err)
	_, err = second.Doom(second.Primary())
	require.ErrorIs(t, err, vault.ErrPrimary)
	raw, err := doomed.Encode()
	require.NoError(t, err)
	doomed, err = vault.Parse(raw)
	require.NoError(t, err)
	require.Equal(t, []vault.Key{{ID: first.Primary(), Doomed: true}, {ID: second.Primary(), Primary: true}}, doomed.Keys())
	value, err = newVault(t, doomed).Open(old, b)
	require.NoError(t, err)
	require.Equal(t, "old", string(value), "until it is destroyed it opens")
	third, err := doomed.Destroy(first.Primary())
	require.NoError(t, err)
	_, err = newVault(t, third).Open(old, b)
	require.ErrorIs(t, err, vault.ErrDamaged)
	value, err = newVault(t, third).Open(fresh, b)
	require.NoError(t, err)
	require.Equal(t, "new", string(value))

	require.Equal(t, newVault(t, first).Hash([]byte("a")), newVault(t, third).Hash([]byte("a")), "a rotation changes no hash")
	require.NotEqual(t, v.Hash([]byte("a"), []byte("b")), v.Hash([]byte("ab")))
	require.NotEqual(t, v.Hash([]byte("a")), vault.InMemory().Hash([]byte("a")))
}

func TestWhatWasKeptBeforeThereWasAVaultIsNotSealed(t *testing.T) {
	t.Parallel()
	require.False(t, vault.Sealed([]byte(`{"env":{"A":"1"},"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`)))
	require.Zero(t, vault.KeyOf([]byte(`{}`)))
	_, err := vault.InMemory().Open([]byte(`{"env":{}}`), vault.Binding{})
	require.ErrorIs(t, err, vault.ErrDamaged)
}

func TestTheFileIsPrivateWholeAndRead(t *testing.T) {
	t.Parallel()
	from := vault.InDataDir(t.TempDir())
	_, found, err := from.Load()
	require.NoError(t, err)
	require.False(t, found)
	k := newKeyset(t)
	require.NoError(t, from.Save(k))
	info, err := os.Stat(from.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	again, found, err := from.Load()
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, k.Keys(), again.Keys())
	require.Equal(t, newVault(t, k).Hash(nil), newVault(t, again).Hash(nil))

	raw, err := os.ReadFile(from.Path)
	require.NoError(t, err)
	given := vault.Source{Path: filepath.Join(t.TempDir(), "none"), Given: string(raw)}
	again, found, err = given.Load()
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, k.Primary(), again.Primary())
	require.Equal(t, "the variable TENURE_KEYSET", given.String())
}

func TestADamagedKeysetIsRefusedAndNeverShown(t *testing.T) {
	t.Parallel()
	k := newKeyset(t)
	raw, err := k.Encode()
	require.NoError(t, err)
	for name, damaged := range map[string][]byte{
		"empty": nil, "half": raw[:len(raw)/2], "other JSON": []byte(`{"key":"MARK"}`), "no JSON": []byte("MARK"),
		"another format": bytes.Replace(raw, []byte("tenure-keyset-1"), []byte("tenure-keyset-9"), 1),
		"an unknown key": bytes.Replace(raw, []byte("XChaCha20Poly1305Key"), []byte("MARK"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := vault.InDataDir(t.TempDir())
			require.NoError(t, os.WriteFile(from.Path, damaged, 0o600))
			_, _, err := from.Load()
			e, ok := err.(*vault.Error) //nolint:errorlint // it is returned bare
			require.True(t, ok, "%v", err)
			require.Equal(t, vault.CodeDamaged, e.Code)
			require.Contains(t, e.Error(), from.Path)
			require.NotContains(t, e.Error(), "MARK")
		})
	}
}

// table is what a database knows of keys.
type table struct {
	mu    sync.Mutex
	known []vault.Known
}

func (d *table) SettleKeys(_ context.Context, judge func([]vault.Known) ([]vault.Known, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	add, err := judge(d.known)
	if err == nil {
		d.known = append(d.known, add...)
	}
	return err
}

func settle(t *testing.T, d *table, from vault.Source) (*vault.Vault, *vault.Error) {
	t.Helper()
	v, err := vault.Settle(t.Context(), d, from, "first:/data")
	if err == nil {
		return v, nil
	}
	e, ok := err.(*vault.Error) //nolint:errorlint // it is returned bare
	require.True(t, ok, "%v", err)
	require.NotContains(t, e.Error(), "\n", "one line")
	return nil, e
}

func TestTheFirstStartMakesTheKeysetAndTheNextOnesUseIt(t *testing.T) {
	t.Parallel()
	d, from := &table{}, vault.InDataDir(t.TempDir())
	v, e := settle(t, d, from)
	require.Nil(t, e)
	require.Len(t, d.known, 1)
	require.Equal(t, v.Primary(), d.known[0].ID)
	require.Equal(t, "first:/data", d.known[0].Host)
	again, e := settle(t, d, from)
	require.Nil(t, e)
	require.Equal(t, v.Primary(), again.Primary())
	require.Len(t, d.known, 1)
}

func TestASecondMachineWithAnotherFileIsRefused(t *testing.T) {
	t.Parallel()
	d, first := &table{}, vault.InDataDir(t.TempDir())
	v, e := settle(t, d, first)
	require.Nil(t, e)
	key := strconv.FormatUint(uint64(v.Primary()), 10)

	// Without a file: none is made.
	second := vault.InDataDir(t.TempDir())
	_, e = settle(t, d, second)
	require.Equal(t, vault.CodeMissing, e.Code)
	require.Contains(t, e.Error(), "key "+key)
	require.Contains(t, e.Error(), "copy keyset.json")
	require.Contains(t, e.Error(), second.Path)
	require.Contains(t, e.Error(), "first:/data")
	require.NoFileExists(t, second.Path)

	// With a file of its own.
	require.NoError(t, second.Save(newKeyset(t)))
	_, e = settle(t, d, second)
	require.Equal(t, vault.CodeMissing, e.Code)
	require.Contains(t, e.Error(), "key "+key)
	require.Len(t, d.known, 1, "a refused start adds nothing")

	// With the right one.
	raw, err := os.ReadFile(first.Path)
	require.NoError(t, err)
	_, e = settle(t, d, vault.Source{Path: second.Path, Given: string(raw)})
	require.Nil(t, e)
	require.NoError(t, os.WriteFile(second.Path, raw, 0o600))
	_, e = settle(t, d, second)
	require.Nil(t, e)
}

func TestAKeyThatOnlyHasTheSameNumberIsRefused(t *testing.T) {
	t.Parallel()
	from := vault.InDataDir(t.TempDir())
	d := &table{}
	v, e := settle(t, d, from)
	require.Nil(t, e)
	other := &table{}
	_, e = settle(t, other, vault.InDataDir(t.TempDir()))
	require.Nil(t, e)
	// The check value of another key, under the number of this one, as if two machines had drawn the same number.
	d.known[0].Check = append([]byte{}, other.known[0].Check...)
	copy(d.known[0].Check[2:6], []byte{byte(v.Primary() >> 24), byte(v.Primary() >> 16), byte(v.Primary() >> 8), byte(v.Primary())})
	_, e = settle(t, d, from)
	require.Equal(t, vault.CodeOther, e.Code)
	require.Contains(t, e.Error(), strconv.FormatUint(uint64(v.Primary()), 10))
}

func TestARotatedFileIsRegisteredAndThenTheOthersNeedItToo(t *testing.T) {
	t.Parallel()
	d, from := &table{}, vault.InDataDir(t.TempDir())
	_, e := settle(t, d, from)
	require.Nil(t, e)
	before, err := os.ReadFile(from.Path)
	require.NoError(t, err)
	k, _, err := from.Load()
	require.NoError(t, err)
	rotated, err := k.Rotate()
	require.NoError(t, err)
	require.NoError(t, from.Save(rotated))
	v, e := settle(t, d, from)
	require.Nil(t, e)
	require.Equal(t, rotated.Primary(), v.Primary())
	require.Len(t, d.known, 2)
	_, e = settle(t, d, vault.Source{Path: from.Path, Given: string(before)})
	require.Equal(t, vault.CodeMissing, e.Code)
	require.Contains(t, e.Error(), strconv.FormatUint(uint64(rotated.Primary()), 10))
}

func TestTwoMachinesThatStartAtOnceOnANewDatabaseGetOneKeyset(t *testing.T) {
	t.Parallel()
	d := &table{}
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		from := vault.InDataDir(t.TempDir())
		wg.Go(func() { _, results[i] = vault.Settle(t.Context(), d, from, "m") })
	}
	wg.Wait()
	started := 0
	for _, err := range results {
		if err == nil {
			started++
		}
	}
	require.Equal(t, 1, started, "one makes the keyset, the others are told which file to copy")
	require.Len(t, d.known, 1)
}

func TestNoPrintShowsAKey(t *testing.T) {
	t.Parallel()
	k := newKeyset(t)
	v := newVault(t, k)
	require.Equal(t, "keyset of 1 keys keyset of 1 keys", fmt.Sprintf("%+v %#v", k, k))
	want := fmt.Sprintf("vault with key %d", v.Primary())
	require.Equal(t, want+" "+want, fmt.Sprintf("%+v %#v", v, v))
}
