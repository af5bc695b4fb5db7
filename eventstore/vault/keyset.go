package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

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
}

// Key is a key of a keyset, without the key itself.
type Key struct {
	ID      uint32
	Primary bool
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
	return &Keyset{handle: handle, hashKey: s.HashKey}, nil
}

// Encode is the stored form. It is the keys themselves.
func (k *Keyset) Encode() ([]byte, error) {
	var keys bytes.Buffer
	if err := insecurecleartextkeyset.Write(k.handle, keyset.NewJSONWriter(&keys)); err != nil {
		return nil, fmt.Errorf("encode the keyset: %w", err)
	}
	out, err := json.MarshalIndent(stored{Format: format, HashKey: k.hashKey, Keyset: keys.Bytes()}, "", "  ")
	return append(out, '\n'), err
}

// Keys lists the keys, the oldest first.
func (k *Keyset) Keys() []Key {
	info := k.handle.KeysetInfo()
	var keys []Key
	for _, i := range info.GetKeyInfo() {
		keys = append(keys, Key{ID: i.GetKeyId(), Primary: i.GetKeyId() == info.GetPrimaryKeyId()})
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

// Destroy returns a keyset without a key. What that key has sealed never opens again.
func (k *Keyset) Destroy(id uint32) (*Keyset, error) {
	for _, key := range k.Keys() {
		switch {
		case key.ID != id:
		case key.Primary:
			return nil, ErrPrimary
		default:
			return k.change(func(m *keyset.Manager) error { return m.Delete(id) })
		}
	}
	return nil, ErrNoKey
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
	return &Keyset{handle: handle, hashKey: k.hashKey}, nil
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
