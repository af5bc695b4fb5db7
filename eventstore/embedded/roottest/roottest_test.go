package roottest_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/embedded/internal/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// nobody is a uid that no machine has a passwd entry for.
const nobody = 12345

func credential(uid uint32) *syscall.Credential { return &syscall.Credential{Uid: uid, Gid: uid} }

func postgresUser(t *testing.T) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup("postgres")
	require.NoError(t, err)
	uid, err = strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err = strconv.Atoi(u.Gid)
	require.NoError(t, err)
	return uid, gid
}

// owned makes a directory of uid.
func owned(t *testing.T, uid int, mode os.FileMode) string {
	t.Helper()
	dir := filepath.Join(enginetest.Dir(t), "data")
	require.NoError(t, os.Mkdir(dir, mode))
	require.NoError(t, os.Chmod(dir, mode))
	require.NoError(t, os.Chown(dir, uid, uid))
	return dir
}

func requireRefusal(t *testing.T, engine *enginetest.Engine, code embedded.Code, words ...string) {
	t.Helper()
	require.Equal(t, code, engine.Code, engine.Error)
	require.NotContains(t, engine.Error, "\n")
	for _, w := range words {
		require.Contains(t, engine.Error, w)
	}
	require.Less(t, engine.Took, 30*time.Second, "not when the time for a start is over")
}

func TestAsRootTheServerIsAnUnprivilegedUser(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(enginetest.Dir(t), "made", "by", "us")
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir, Sync: true})
	require.Empty(t, engine.Error)
	uid, gid := postgresUser(t)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", engine.PostgresID))
	require.NoError(t, err)
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	require.Equal(t, fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", uid), fields["Uid"])
	require.Equal(t, fmt.Sprintf("%[1]d %[1]d %[1]d %[1]d", gid), fields["Gid"])
	require.Empty(t, fields["Groups"])
	require.Equal(t, "0000000000000000", fields["CapEff"])
	engine.Stop()
}

func TestOnlyTheEnginesUserMayConnect(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(enginetest.Dir(t), "data")
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	psql := func(uid, gid int, role string) (string, error) {
		cmd := exec.Command("psql", "-w", "-At", "-h", filepath.Join(dir, "run"), "-U", role, "-d", "tenure", "-c", "SELECT 'in'")
		cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := psql(0, 0, "tenure")
	require.NoError(t, err, out)
	uid, gid := postgresUser(t)
	out, err = psql(uid, gid, "tenure")
	require.Error(t, err, "not even the user the server runs as")
	require.Contains(t, strings.ToLower(out), "peer authentication failed")
	out, err = psql(uid, gid, "postgres")
	require.Error(t, err)
	require.Contains(t, out, "no pg_hba.conf entry")
	out, err = psql(nobody, nobody, "tenure")
	require.Error(t, err)
	require.Contains(t, out, "Permission denied")
	engine.Stop()
}

func TestAsRootADirectoryThatTheServerCannotEnterIsNamed(t *testing.T) {
	t.Parallel()
	private := filepath.Join(enginetest.Dir(t), "private")
	require.NoError(t, os.Mkdir(private, 0o700))
	dir := filepath.Join(private, "deeper", "data")
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
	requireRefusal(t, engine, embedded.CodeDataDirAccess, "cannot enter "+private+";", "chmod o+x "+private)
	require.NoDirExists(t, filepath.Join(dir, "postgres"))

	require.NoError(t, os.Chmod(private, 0o711))
	engine = enginetest.Start(t, enginetest.Request{DataDir: dir})
	require.Empty(t, engine.Error)
	engine.Stop()
}

func TestAUidWithoutPasswdEntryWorks(t *testing.T) {
	t.Parallel()
	readOnlyHome := owned(t, nobody, 0o500)
	for name, env := range map[string][]string{"HOME unset": nil, "read-only HOME": {"HOME=" + readOnlyHome}, "bad LANG": {"LANG=xx", "HOME=/nonexistent"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := owned(t, nobody, 0o700)
			request := enginetest.Request{DataDir: dir, Credential: credential(nobody), Env: env}
			engine := enginetest.Start(t, request)
			require.Empty(t, engine.Error)
			hba, err := os.ReadFile(filepath.Join(dir, "postgres", "pg_hba.conf"))
			require.NoError(t, err)
			require.Contains(t, string(hba), "local all tenure scram-sha-256\n")
			require.NotContains(t, string(hba), "trust")
			info, err := os.Stat(filepath.Join(dir, "postgres.password"))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

			engine.Kill()
			adopter := enginetest.Start(t, request)
			require.Empty(t, adopter.Error)
			require.True(t, adopter.Adopted)
			adopter.Stop()
			again := enginetest.Start(t, request)
			require.Empty(t, again.Error)
			again.Stop()
		})
	}
}

func TestAUidWithoutPasswdEntryNeedsItsPasswordFile(t *testing.T) {
	t.Parallel()
	dir := owned(t, nobody, 0o700)
	request := enginetest.Request{DataDir: dir, Credential: credential(nobody)}
	engine := enginetest.Start(t, request)
	require.Empty(t, engine.Error)
	engine.Stop()
	password := filepath.Join(dir, "postgres.password")
	require.NoError(t, os.Rename(password, password+".away"))
	requireRefusal(t, enginetest.Start(t, request), embedded.CodePasswordMissing, password)
	require.NoError(t, os.Rename(password+".away", password))
	engine = enginetest.Start(t, request)
	require.Empty(t, engine.Error)
	engine.Stop()
}

func TestADirectoryOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		owner int
		mode  os.FileMode
		as    *syscall.Credential
		code  embedded.Code
	}{
		{"root in a user's", 12346, 0o777, nil, embedded.CodeDataDirOwner},
		{"a user in another's", 12346, 0o777, credential(nobody), embedded.CodeDataDirOwner},
		{"a user in root's without write permission", 0, 0o755, credential(nobody), embedded.CodeDataDirAccess},
		{"a user in its own without write permission", nobody, 0o555, credential(nobody), embedded.CodeDataDirAccess},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := owned(t, row.owner, row.mode)
			engine := enginetest.Start(t, enginetest.Request{DataDir: dir, Credential: row.as})
			requireRefusal(t, engine, row.code, dir)
			require.NoDirExists(t, filepath.Join(dir, "postgres"))
		})
	}
}

func TestAUserInARootOwnedDirectoryItMayWriteWorks(t *testing.T) {
	t.Parallel()
	dir := owned(t, 0, 0o777)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir, Credential: credential(nobody)})
	require.Empty(t, engine.Error)
	engine.Stop()
}

func TestAClusterMadeByAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	dir := owned(t, nobody, 0o755)
	engine := enginetest.Start(t, enginetest.Request{DataDir: dir, Credential: credential(nobody)})
	require.Empty(t, engine.Error)
	engine.Stop()
	require.NoError(t, os.Chown(dir, 0, 0))
	asRoot := enginetest.Start(t, enginetest.Request{DataDir: dir})
	requireRefusal(t, asRoot, embedded.CodeDataDirOwner, "belongs to uid 12345", "chown")
}

func TestALongPathWhoseShortPlaceIsTakenSaysSo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(owned(t, nobody, 0o700), strings.Repeat("long", 40))
	request := enginetest.Request{DataDir: dir, Credential: credential(nobody)}
	engine := enginetest.Start(t, request)
	require.Empty(t, engine.Error)
	_, socketDir, _ := strings.Cut(engine.ConnString, "host='")
	socketDir, _, _ = strings.Cut(socketDir, "'")
	require.Contains(t, socketDir, "/tmp/tenure-12345-")
	engine.Stop()
	require.NoDirExists(t, socketDir)

	require.NoError(t, os.Mkdir(socketDir, 0o777), "somebody else puts a directory there")
	t.Cleanup(func() { require.NoError(t, os.Remove(socketDir)) })
	requireRefusal(t, enginetest.Start(t, request), embedded.CodeSocketDir, socketDir, "belongs to uid 0")
}

func TestStalePidFilesWithAPidOfAnyUserAreCleared(t *testing.T) {
	t.Parallel()
	uid, gid := postgresUser(t)
	for name, owner := range map[string]*syscall.Credential{
		"the server's own user": {Uid: uint32(uid), Gid: uint32(gid)}, "root": nil, "another user": credential(nobody),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(enginetest.Dir(t), "data")
			engine := enginetest.Start(t, enginetest.Request{DataDir: dir})
			require.Empty(t, engine.Error)
			engine.Kill()
			enginetest.KillPostgres(t, engine.PostgresID)
			other := exec.Command("sleep", "600")
			other.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
			require.NoError(t, other.Start())
			t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
			for _, file := range []string{"postgres/postmaster.pid", "run/.s.PGSQL.5432.lock"} {
				text, err := os.ReadFile(filepath.Join(dir, file))
				require.NoError(t, err)
				_, rest, _ := strings.Cut(string(text), "\n")
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), fmt.Appendf(nil, "%d\n%s", other.Process.Pid, rest), 0o600))
			}
			next := enginetest.Start(t, enginetest.Request{DataDir: dir})
			require.Empty(t, next.Error)
			require.False(t, next.Adopted)
			require.False(t, enginetest.Gone(other.Process.Pid))
			next.Stop()
		})
	}
}
