package app

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// remembered is what a node keeps of the log outside of the database: events that it knows to be in it. A database that was
// restored from a backup has lost them, and does not know it.
type remembered struct {
	// Installation is the log's, Epoch the highest that it was known to have.
	Installation uuid.UUID `json:"installation"`
	Epoch        int64     `json:"epoch"`
	Marks        []mark    `json:"marks"`
}

type mark struct {
	Epoch    int64  `json:"epoch"`
	Position int64  `json:"position"`
	Hash     string `json:"hash"`
}

// memoryFile is where it is kept, in the data directory.
const memoryFile = "log.remembered"

// memoryInterval is how often it is written, if there is more to remember.
const memoryInterval = 5 * time.Second

// recollect reads what the node remembers; a new node remembers nothing.
func recollect(dataDir string) (pg.Memory, error) {
	path := filepath.Join(dataDir, memoryFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return pg.Memory{}, nil
	}
	var r remembered
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	memory := pg.Memory{Installation: r.Installation, Epoch: r.Epoch}
	for _, m := range r.Marks {
		hash, decodeErr := hex.DecodeString(m.Hash)
		err = errors.Join(err, decodeErr)
		memory.Marks = append(memory.Marks, pg.Mark{Epoch: m.Epoch, Position: m.Position, Hash: hash})
	}
	if err == nil && !slices.IsSortedFunc(memory.Marks, func(a, b pg.Mark) int { return int(a.Position - b.Position) }) {
		err = errors.New("its events are not in order")
	}
	if err != nil {
		return pg.Memory{}, &cli.StartError{
			Code: "memory_unreadable", What: fmt.Sprintf("what this node remembers of the log, in %s, cannot be read: %s", path, err),
			Remediation: "restore the file; or remove it, if the database was neither restored nor failed over since this node's last stop",
		}
	}
	return memory, nil
}

// remember writes what the node remembers, as a whole and durably.
func (a *App) remember() error {
	memory := a.store.Remembered()
	r := remembered{Installation: memory.Installation, Epoch: memory.Epoch}
	for _, m := range memory.Marks {
		r.Marks = append(r.Marks, mark{Epoch: m.Epoch, Position: m.Position, Hash: hex.EncodeToString(m.Hash)})
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	text := string(raw) + "\n"
	if text == a.rememberedText {
		return nil
	}
	if err := writePrivate(filepath.Join(a.lock.Dir(), memoryFile), text); err != nil {
		return err
	}
	a.rememberedText = text
	return nil
}

// keepMemory writes from time to time what the node remembers. The caller writes it a last time once the store is closed.
func (a *App) keepMemory(ctx context.Context) {
	a.background(ctx, "memory of the log", func(ctx context.Context) {
		ticker := time.NewTicker(memoryInterval)
		defer ticker.Stop()
		for changed := a.store.IdentityChanged(); ; {
			select {
			case <-ticker.C:
			case <-changed:
				changed = a.store.IdentityChanged()
			case <-ctx.Done():
				return
			}
			if err := a.remember(); err != nil {
				a.log.Warn("what this node remembers of the log could not be written", "error", err)
			}
		}
	})
}
