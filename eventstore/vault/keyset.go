package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset is the keys of a vault: one that seals, and any number that only open.
type Keyset struct {
	handle *keyset.Handle
	// hashKey makes keyed hashes; it is never rotated.
	hashKey []byte
	// doomed are keys to destroy once nothing is sealed with them.
	doomed []uint32
}

// Key is a key of a keyset, without the key itself.
type Key struct {
	ID      uint32
	Primary bool
	// Doomed says that it is to be destroyed once nothing is sealed with it.
	Doomed bool
}

// What can be wrong with a change of a keyset.
var (
	ErrNoKey   = errors.New("the keyset has no such key")
	ErrPrimary = errors.New("the key seals: make another one the primary first")
)

const hashKeyLen = 32

// template is of the keys that are made: random nonces of 192 bits, so that one key can seal any number of values.
var template = aead.XChaCha20Poly1305KeyTemplate

// NewKeyset makes a keyset with one key.
func NewKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(template())
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	k := &Keyset{handle: handle, hashKey: make([]byte, hashKeyLen)}
	_, err = rand.Read(k.hashKey)
	return k, err
}

// stored is the form of a keyset in its file.
type stored struct {
	Format  string          `json:"format"`
	HashKey []byte          `json:"hashKey"`
	Doomed  []uint32        `json:"doomed,omitempty"`
	Keyset  json.RawMessage `json:"keyset"`
}

const format = "tenure-keyset-1"

// errNoKeyset says nothing of what was read instead: it may be half a key.
var errNoKeyset = errors.New("it holds no keyset, or a damaged one")

// Parse reads the stored form of a keyset.
func Parse(raw []byte) (*Keyset, error) {
	var s stored
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || s.Format != format || len(s.HashKey) != hashKeyLen {
		return nil, errNoKeyset
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(s.Keyset)))
	if err != nil {
		return nil, errNoKeyset
	}
	if _, err := newAEAD(handle); err != nil {
		return nil, errNoKeyset
	}
	return &Keyset{handle: handle, hashKey: s.HashKey, doomed: s.Doomed}, nil
}

// Encode is the stored form. It is the keys themselves.
func (k *Keyset) Encode() ([]byte, error) {
	var keys bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&keys)); err != nil {
		return nil, fmt.Errorf("encode the keyset: %w", err)
	}
	out, err := json.MarshalIndent(stored{Format: format, HashKey: k.hashKey, Doomed: k.doomed, Keyset: keys.Bytes()}, "", "  ")
	return append(out, '\n'), err
}

// String counts the keys and shows none.
func (k *Keyset) String() string { return fmt.Sprintf("keyset of %d keys", k.handle.Len()) }

// GoString is String.
func (k *Keyset) GoString() string { return k.String() }

// Keys lists the keys, the oldest first.
func (k *Keyset) Keys() []Key {
	info := k.handle.KeysetInfo()
	var keys []Key
	for _, i := range info.GetKeyInfo() {
		id := i.GetKeyId()
		keys = append(keys, Key{ID: id, Primary: id == info.GetPrimaryKeyId(), Doomed: slices.Contains(k.doomed, id)})
	}
	return keys
}

// Primary is the id of the key that seals.
func (k *Keyset) Primary() uint32 { return k.handle.KeysetInfo().GetPrimaryKeyId() }

// Rotate returns a keyset in which a new key seals and the others still open.
func (k *Keyset) Rotate() (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error {
		id, err := m.Add(template())
		if err != nil {
			return err
		}
		return m.SetPrimary(id)
	})
}

// Doom returns a keyset in which a key is to be destroyed once nothing is sealed with it.
func (k *Keyset) Doom(id uint32) (*Keyset, error) {
	if err := k.notPrimary(id); err != nil {
		return nil, err
	}
	doomed := slices.DeleteFunc(slices.Clone(k.doomed), func(d uint32) bool { return d == id })
	return &Keyset{handle: k.handle, hashKey: k.hashKey, doomed: append(doomed, id)}, nil
}

// Destroy returns a keyset without a key. What that key has sealed never opens again.
func (k *Keyset) Destroy(id uint32) (*Keyset, error) {
	if err := k.notPrimary(id); err != nil {
		return nil, err
	}
	without, err := k.change(func(m *keyset.Manager) error { return m.Delete(id) })
	if err == nil {
		without.doomed = slices.DeleteFunc(slices.Clone(k.doomed), func(d uint32) bool { return d == id })
	}
	return without, err
}

func (k *Keyset) notPrimary(id uint32) error {
	for _, key := range k.Keys() {
		if key.ID == id && key.Primary {
			return ErrPrimary
		}
		if key.ID == id {
			return nil
		}
	}
	return ErrNoKey
}

func (k *Keyset) change(how func(*keyset.Manager) error) (*Keyset, error) {
	m := keyset.NewManagerFromHandle(k.handle)
	if err := how(m); err != nil {
		return nil, fmt.Errorf("change the keyset: %w", err)
	}
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("change the keyset: %w", err)
	}
	return &Keyset{handle: handle, hashKey: k.hashKey, doomed: k.doomed}, nil
}

func newAEAD(h *keyset.Handle) (tink.AEAD, error) {
	primitive, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("open the keyset: %w", err)
	}
	return primitive, nil
}

// checked is what every key seals for its check value.
var checked = []byte("tenure: this key is the one that the database knows")

// check seals the check value of one key, whichever is the primary.
func (k *Keyset) check(id uint32) ([]byte, error) {
	one, err := k.change(func(m *keyset.Manager) error { return m.SetPrimary(id) })
	if err != nil {
		return nil, err
	}
	v, err := New(one)
	if err != nil {
		return nil, err
	}
	return v.Seal(checked, ofKey(id))
}

// verify reports whether a check value is of the key with this id in this keyset.
func (k *Keyset) verify(id uint32, check []byte) bool {
	v, err := New(k)
	if err != nil || KeyOf(check) != id {
		return false
	}
	value, err := v.Open(check, ofKey(id))
	return err == nil && bytes.Equal(value, checked)
}
