package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// maxPluginBytes bounds the files of one version of a plugin.
const maxPluginBytes = 2 << 30

// unfinished begins the names of directories whose files are not all there, or not yet looked at.
const unfinished = ".new-"

// shelf keeps the files of plugins: one directory for each content, which never changes.
type shelf struct{ a *App }

var _ supervisor.Installer = shelf{}

// InstallPlugin implements [supervisor.Installer]. The source is copied first and looked at then, so that what was looked
// at is what is kept.
func (s shelf) InstallPlugin(ctx context.Context, source string) (plugin.Installed, error) {
	fail := func(code string, err error, remediation string) (plugin.Installed, error) {
		return plugin.Installed{}, &drivers.Failure{Outcome: drivers.OutcomeDefinite, Code: code, Step: "install", Err: err, Remediation: remediation}
	}
	directory, err := filepath.EvalSymlinks(source) // WalkDir does not follow its root
	if info, stat := os.Stat(directory); err != nil || stat != nil || !info.IsDir() {
		return fail("no_directory", fmt.Errorf("%s is no directory of this machine", source), "name the directory that holds the plugin's package.json or manifest.json")
	}
	if err := os.MkdirAll(s.a.filesDir(), 0o711); err != nil {
		return fail("io_error", err, "let the engine write to its data directory")
	}
	dir, err := os.MkdirTemp(s.a.filesDir(), unfinished)
	if err != nil {
		return fail("io_error", err, "let the engine write to its data directory")
	}
	defer os.RemoveAll(dir) //nolint:errcheck // renamed by then, or of no use
	digest, err := copyTree(ctx, directory, dir)
	if err != nil {
		return fail("copy_failed", err, "make every file readable for the engine, and see that its disk has room")
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // workers of another user read it; it holds no secret
		return fail("io_error", err, "let the engine write to its data directory")
	}
	read, err := manifest.ReadPackage(ctx, dir, manifest.ReadOptions{As: s.a.workerUser()})
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		f.Err = errors.New(strings.ReplaceAll(f.Err.Error(), dir, source)) // who asked knows nothing of the copy
	}
	if err != nil {
		return plugin.Installed{}, err
	}
	m := read.Manifest
	kept := filepath.Join(s.a.filesDir(), digest)
	if err := os.Rename(dir, kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail("io_error", err, "let the engine write to its data directory")
	}
	s.a.expectPlugin(plugin.IDOf(m.ID))
	return plugin.Installed{Key: m.ID, Version: m.Version, Digest: digest, Manifest: m.Raw, Source: source}, nil
}

func (a *App) filesDir() string { return filepath.Join(a.pluginDir(), "files") }

// copyTree copies directories, files and links below source, readable for everybody, and returns a SHA-256 over the names,
// the contents and which of them are programs.
func copyTree(ctx context.Context, source, to string) (string, error) {
	sum := sha256.New()
	left := int64(maxPluginBytes)
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		rel, err := filepath.Rel(source, path)
		if err != nil || rel == "." {
			return err
		}
		target := filepath.Join(to, rel)
		switch d.Type() { //nolint:exhaustive // all the other kinds are refused
		case fs.ModeDir:
			fmt.Fprintf(sum, "d %q\n", rel)
			return os.Mkdir(target, 0o755) // Workers of another user read it; it holds no secret.
		case fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(sum, "l %q %q\n", rel, link)
			return os.Symlink(link, target)
		case 0:
			return copyFile(sum, path, rel, target, &left)
		}
		return fmt.Errorf("%s is neither a file nor a directory nor a link", rel)
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

func copyFile(sum io.Writer, path, rel, target string, left *int64) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // only read
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if *left -= info.Size(); *left < 0 {
		return fmt.Errorf("the plugin has more than %d MiB", maxPluginBytes>>20)
	}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	fmt.Fprintf(sum, "f %q %o %d\n", rel, mode, info.Size())
	out, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(from, info.Size()+1))
	if err = errors.Join(err, out.Close()); err == nil && n != info.Size() {
		err = fmt.Errorf("%s changed while it was copied", rel)
	}
	return err
}
