package bubblewrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What commands read of /etc, where the machine has it: what the loader, the C library, TLS and the time zone need. None of it
// is secret: of /etc/ssl only the certificates, not /etc/ssl/private.
var (
	etcFiles = []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/mime.types", "/etc/os-release", "/etc/protocols", "/etc/services",
		"/etc/ssl/openssl.cnf", "/etc/timezone",
	}
	etcTrees = []string{
		"/etc/alternatives", "/etc/ca-certificates", "/etc/ld.so.conf.d", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/ssl/certs",
	}
	// etcOfNetwork are those that the host's network needs, as they are at any time.
	etcOfNetwork = []string{"/etc/gai.conf", "/etc/hosts", "/etc/resolv.conf"}
)

const hostname = "sandbox"

// shownEtc is where a sandbox has the directory of etc.
const shownEtc = "/etc/.tenure"

// etc is a directory of the files that sandboxes have in their /etc. A sandbox mounts it once and has links into it: bwrap spent
// a quarter of its time on a mount for each file.
type etc struct {
	dir    string
	mu     sync.Mutex
	copied map[string]stamp
}

// stamp changes with a file's content.
type stamp struct {
	dev, ino    uint64
	size        int64
	sec, nanosc int64
}

// openEtc writes the files that every sandbox has in place of the machine's.
func openEtc(dir string, uid, gid int) (*etc, error) {
	e := &etc{dir: dir, copied: map[string]stamp{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // every sandbox reads it
		return nil, err
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n" +
			fmt.Sprintf("tenure:x:%d:%d:tenure:%s:/bin/sh\n", uid, gid, workspacePath) +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"group":         fmt.Sprintf("root:x:0:\ntenure:x:%d:\nnogroup:x:65534:\n", gid),
		"hosts":         "127.0.0.1 localhost " + hostname + "\n::1 localhost\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := e.write(name, []byte(text)); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// write makes a file hold text.
func (e *etc) write(name string, text []byte) error {
	path := filepath.Join(e.dir, name)
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, text) {
		return nil
	}
	// In one step: a sandbox may be reading the old one.
	if err := os.WriteFile(path+".tmp", text, 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(path+".tmp", 0o644), os.Rename(path+".tmp", path)) //nolint:gosec // as the directory
}

// walls are the arguments of bwrap that make /etc.
func (e *etc) walls(network string) []string {
	a := []string{"--ro-bind", e.dir, shownEtc}
	madeUp, ofHost := []string{"passwd", "group", "nsswitch.conf"}, etcTrees
	if network == NetworkHost {
		ofHost = append(append([]string{}, ofHost...), etcOfNetwork...)
	} else {
		madeUp = append(madeUp, "hosts")
	}
	for _, name := range madeUp {
		a = append(a, "--symlink", filepath.Join(shownEtc, name), "/etc/"+name)
	}
	for _, path := range etcFiles {
		a = append(a, e.show(path)...)
	}
	for _, path := range ofHost {
		a = append(a, "--ro-bind-try", path, path)
	}
	return a
}

// show are the arguments that show a file of the machine as it is now: by a link to where it is below /usr, or to a copy.
// What cannot be copied is mounted.
func (e *etc) show(path string) []string {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && within("/usr", real):
		return []string{"--symlink", real, path}
	case err == nil && e.copy(real, filepath.Base(path)) == nil:
		return []string{"--symlink", filepath.Join(shownEtc, filepath.Base(path)), path}
	}
	return []string{"--ro-bind-try", path, path}
}

// copy makes the file called name hold what the one at path does.
func (e *etc) copy(path, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o004 == 0 {
		return fmt.Errorf("%s is not a file that everybody may read", path)
	}
	now := stamp{dev: st.Dev, ino: st.Ino, size: st.Size, sec: st.Ctim.Sec, nanosc: st.Ctim.Nsec}
	if e.copied[name] == now {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := e.write(name, text); err != nil {
		return err
	}
	// A file that changed just now may change again without another time.
	if time.Since(time.Unix(st.Ctim.Unix())) > time.Second {
		e.copied[name] = now
	}
	return nil
}
