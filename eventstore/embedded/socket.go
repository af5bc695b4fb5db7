package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	firstPort = 5432
	portCount = 100
	// maxSocketPath is what a socket's address can hold besides the closing zero byte.
	maxSocketPath = 107
)

// address is where a server listens. The port is only a part of the socket's name; there is no TCP.
type address struct {
	dir  string
	port int
}

func (a address) socket() string { return filepath.Join(a.dir, ".s.PGSQL."+strconv.Itoa(a.port)) }

// socketDir makes the directory of the server's socket: in the data directory if the path fits into a socket's address, or else one
// whose name is derived from the data directory, so that the next engine finds the same.
func (c *cluster) socketDir() (string, error) {
	var problems error
	for _, dir := range socketDirs(c.dataDir, c.acct) {
		if err := privateDir(dir, c.acct); err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		return dir, nil
	}
	return "", &Error{
		Code: CodeSocketDir, What: "no private directory for the database socket", Cause: problems,
		Remediation: "remove what is in the way, or choose a data directory with a shorter path",
	}
}

func socketDirs(dataDir string, acct account) []string {
	sum := sha256.Sum256([]byte(dataDir))
	name := fmt.Sprintf("tenure-%d-%s", acct.uid, hex.EncodeToString(sum[:8]))
	dirs := []string{"/tmp/" + name}
	if runtime := fmt.Sprintf("/run/user/%d", acct.uid); !acct.drop {
		dirs = append([]string{runtime + "/" + name}, dirs...)
	} else {
		dirs = append([]string{"/run/" + name}, dirs...)
	}
	// Commas, quotes and backslashes would have to be quoted in three languages (settings, lists of hosts, connection strings).
	inside := filepath.Join(dataDir, "run")
	longest := address{dir: inside, port: firstPort + portCount}.socket()
	if len(longest) <= maxSocketPath && !strings.ContainsAny(inside, ",'\"\\\n") {
		dirs = append([]string{inside}, dirs...)
	}
	return dirs
}

// privateDir makes dir for the account alone, and refuses one that somebody else has put there.
func privateDir(dir string, acct account) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return errors.Join(os.Chmod(dir, 0o700), os.Lchown(dir, acct.uid, acct.gid))
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case ownerOf(info) == os.Geteuid() && acct.drop:
		// An engine was killed between making it and giving it away.
		return errors.Join(os.Chmod(dir, 0o700), os.Lchown(dir, acct.uid, acct.gid))
	case ownerOf(info) != acct.uid:
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", dir, ownerOf(info), acct.uid)
	case info.Mode().Perm() != 0o700:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// freeAddress finds a name in dir on which nobody listens and clears what a killed server left there, whose pid may by now belong to
// somebody else and would keep Postgres from starting. Call it only after proof that the cluster has no server: whoever still
// listens is another cluster's and is left alone.
func freeAddress(dir string, prefer int) (address, error) {
	ports := []int{prefer}
	if prefer == 0 {
		ports = ports[:0]
		for port := firstPort; port < firstPort+portCount; port++ {
			ports = append(ports, port)
		}
	}
	for _, port := range ports {
		at := address{dir: dir, port: port}
		if listening(at.socket()) {
			continue
		}
		for _, stale := range []string{at.socket(), at.socket() + ".lock"} {
			if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return address{}, fmt.Errorf("remove the stale socket %s: %w", stale, err)
			}
		}
		return at, nil
	}
	return address{}, &Error{
		Code: CodeForeignServer, What: fmt.Sprintf("another server, not of this data directory, listens in %s", dir),
		Remediation: "stop that server, or choose another data directory",
	}
}

// listening errs on the side of yes: only a refused connection or a missing file is proof that nobody is there. It takes no context,
// because a dial that was broken off would count as yes.
func listening(socket string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "unix", socket)
	if err == nil {
		conn.Close()
		return true
	}
	return !errors.Is(err, fs.ErrNotExist) && !isRefused(err)
}
