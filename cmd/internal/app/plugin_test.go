package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/embedded"
)

// withPlugins is an engine as far as it has to do with the files of plugins.
func withPlugins(t *testing.T, opts Options) *App {
	t.Helper()
	lock, err := embedded.Lock(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, lock.Unlock()) })
	return &App{opts: opts, log: slog.New(slog.DiscardHandler), lock: lock}
}

func TestWhatAKilledInstallationLeftIsRemoved(t *testing.T) {
	t.Parallel()
	a := withPlugins(t, Options{})
	left, kept := filepath.Join(a.filesDir(), ".new-123"), filepath.Join(a.filesDir(), "abc")
	for _, dir := range []string{left, kept} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "dist"), 0o700))
	}
	require.NoError(t, a.makePluginDir())
	require.NoDirExists(t, left)
	require.DirExists(t, kept)
}

// The sizes are in the digest and are what is bounded, so a file must have the size that it says.
func TestAFileThatIsNotOfItsSizeIsNotCopied(t *testing.T) {
	t.Parallel()
	_, err := copyTree(t.Context(), "/proc/sys/kernel/random", t.TempDir()) // of 0 bytes each, with more to read
	require.ErrorContains(t, err, "while it was copied")
}

// npm installs a package from a directory as a link to it.
func TestAPluginIsInstalledThroughALink(t *testing.T) {
	t.Parallel()
	a := withPlugins(t, Options{})
	a.heardOf = map[domain.PluginID]bool{}
	dir := t.TempDir()
	manifest := `{
		"id": "acme.box", "apiVersion": 1, "version": "1.0.0", "displayName": "Box", "description": "Boxes.", "author": "A",
		"categories": ["connector"], "capabilities": ["environment.drivers.register"], "entrypoints": {"worker": "worker"}
	}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "worker"), []byte("#!/bin/sh\n"), 0o755))
	link := filepath.Join(t.TempDir(), "acme")
	require.NoError(t, os.Symlink(dir, link))
	direct, err := shelf{a}.InstallPlugin(t.Context(), dir)
	require.NoError(t, err)
	linked, err := shelf{a}.InstallPlugin(t.Context(), link)
	require.NoError(t, err)
	require.Equal(t, link, linked.Source, "as it was asked for")
	require.Equal(t, direct.Digest, linked.Digest)
	empty := t.TempDir()
	_, err = shelf{a}.InstallPlugin(t.Context(), empty)
	require.ErrorContains(t, err, "in "+empty, "of the copy nobody knows")
}

func TestTheHostIsToldWhatThereIsOfAPlugin(t *testing.T) {
	t.Parallel()
	a := withPlugins(t, Options{
		PluginEnv:       map[string]map[string]string{"tenure.fake": {"OPEN": "1"}, "acme": {"OTHER": "1"}},
		PluginSecretEnv: map[string]map[string]string{"tenure.fake": {"TOKEN": "t0ken"}},
	})
	var installed plugin.Installed
	for _, b := range a.builtins() {
		if b.name == "fake" {
			var err error
			installed, err = b.installed()
			require.NoError(t, err)
		}
	}
	older := installed
	older.Version, older.Manifest = "0.0.1", json.RawMessage(`{"no": "manifest"}`)
	got := a.versions(plugin.IDOf(installed.Key), plugin.State{
		Status: plugin.StatusEnabled, Key: installed.Key, Version: installed.Version, Disables: 3,
		Versions: []plugin.Version{{Installed: older}, {Installed: installed}},
	})
	require.Len(t, got, 1, "a manifest that this engine does not take is left out")
	require.True(t, got[0].Enabled)
	require.Equal(t, 3, got[0].Disabled)
	require.Equal(t, map[string]string{"OPEN": "1"}, got[0].Env)
	require.Equal(t, map[string]string{"TOKEN": "t0ken"}, got[0].SecretEnv)
}

// News come by the feed of all events, which must not stand still because the database is slow to say what they mean.
func TestNewsAreHeardWhilePluginsAreRead(t *testing.T) {
	t.Parallel()
	a := &App{heardOf: map[domain.PluginID]bool{}, pluginNews: make(chan struct{}, 1)}
	a.pluginTurn.Lock() // somebody reads, and goes on doing so
	id := plugin.IDOf("acme")
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		a.heardPlugin(eventstore.Recorded{Stream: commands.Plugins.Stream(id.UUID)})
	}()
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Fatal("the feed stands still")
	}
	require.True(t, a.heardOf[id])
	require.Len(t, a.pluginNews, 1)
}

func TestNewsThatCouldNotBeReadAreReadLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &App{log: slog.New(slog.DiscardHandler), pluginNews: make(chan struct{}, 1)}
		var tries atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.onPluginNews(ctx, func(context.Context) error {
				if tries.Add(1) < 3 {
					return errors.New("the database is away")
				}
				return nil
			})
		}()
		a.pluginNews <- struct{}{}
		synctest.Wait()
		require.EqualValues(t, 1, tries.Load())
		<-time.After(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 3, tries.Load(), "then it was read, and nothing is new")
		cancel()
		<-done
	})
}
