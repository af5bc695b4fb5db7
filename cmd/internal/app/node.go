package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// nodeID returns the id of this data directory, made on the first start. A runtime that is bound to a node names it.
func nodeID(dataDir string) (domain.NodeID, error) {
	path := filepath.Join(dataDir, "node.id")
	raw, err := os.ReadFile(path)
	if err == nil {
		id, err := uuid.Parse(strings.TrimSpace(string(raw)))
		if err != nil {
			return domain.NodeID{}, fmt.Errorf("read the node's id from %s: %w; restore the file, or remove it to make this a new node", path, err)
		}
		return domain.NodeID{UUID: id}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return domain.NodeID{}, fmt.Errorf("read the node's id: %w", err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return domain.NodeID{}, fmt.Errorf("make an id: %w", err)
	}
	return domain.NodeID{UUID: id}, writePrivate(path, id.String()+"\n")
}

// writePrivate puts a file in place as a whole, readable by its owner only, and durable.
func writePrivate(path, content string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // renamed by then, or of no use
	_, err = file.WriteString(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
