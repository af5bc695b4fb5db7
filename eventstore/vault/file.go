package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FileName is the keyset's file in a data directory, Variable what may hold the same text instead.
const (
	FileName = "keyset.json"
	Variable = "TENURE_KEYSET"
)

// Source is where a keyset is.
type Source struct {
	// Path is its file.
	Path string
	// Given is the text of a keyset that was given by [Variable]; then the file is neither read nor written.
	Given string
}

// InDataDir is the keyset of a data directory.
func InDataDir(dir string) Source { return Source{Path: filepath.Join(dir, FileName)} }

func (s Source) String() string {
	if s.Given != "" {
		return "the variable " + Variable
	}
	return s.Path
}

// Load reads the keyset; ok is false when there is none yet.
func (s Source) Load() (k *Keyset, ok bool, err error) {
	raw := []byte(strings.TrimSpace(s.Given))
	if s.Given == "" {
		raw, err = os.ReadFile(s.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the keyset: %w", err)
		}
	}
	k, err = Parse(raw)
	if err != nil {
		return nil, false, &Error{
			Code: CodeDamaged, What: fmt.Sprintf("%s cannot be used: %s", s, err),
			Remediation: "restore it from a backup, or copy " + FileName + " from the data directory of another machine on this database",
		}
	}
	return k, true, nil
}

// Save puts the keyset into its file, as a whole, readable by its owner only, and durable.
func (s Source) Save(k *Keyset) error {
	raw, err := k.Encode()
	if err != nil {
		return err
	}
	if err := replace(s.Path, raw); err != nil {
		return fmt.Errorf("write the keyset: %w", err)
	}
	return nil
}

func replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // renamed by then, or of no use
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	opened, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}
