package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// The workspace belongs to the container's user. A volume begins as root's, and nobody in the container may change that:
// there are no capabilities. So the engine does it, by unpacking an archive that has nothing in it but the two
// directories. It takes the archive in the root directory, or, where that is read-only, in a volume (ownDir) that has both
// mounted again.
const ownDir = "/.tenure-own"

// giveWorkspace makes workspace and tmp the container's user's. The container does not run yet.
func (e *engine) giveWorkspace(ctx context.Context, c container.InspectResponse) error {
	uid, gid, err := e.userOf(ctx, c)
	if err != nil {
		return err
	}
	if uid == 0 && gid == 0 {
		return nil
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, dir := range []struct {
		name string
		mode int64
	}{{workspace, 0o755}, {tmp, 0o1777}} {
		if err := t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir.name, "/") + "/", Mode: dir.mode, Uid: uid, Gid: gid,
		}); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	into := "/"
	if c.HostConfig.ReadonlyRootfs {
		into = ownDir
	}
	_, err = e.CopyToContainer(ctx, c.ID, client.CopyToContainerOptions{DestinationPath: into, Content: &b})
	return err
}

// errNoUser says that the image does not have the user.
var errNoUser = errors.New("the image has no such user or group")

// userOf says who the container's user is, as the engine will find out when it starts it: names and groups are those of
// the image's own /etc/passwd and /etc/group.
func (e *engine) userOf(ctx context.Context, c container.InspectResponse) (uid, gid int, err error) {
	if c.Config.User == "" {
		return 0, 0, nil
	}
	user, group, hasGroup := strings.Cut(c.Config.User, ":")
	uid, numeric := id(user)
	if !numeric || !hasGroup {
		passwd, err := e.readFile(ctx, c.ID, "/etc/passwd")
		if err != nil {
			return 0, 0, err
		}
		row, ok := lookUp(passwd, user, numeric)
		switch {
		case ok && len(row) > 3:
			if uid, ok = id(row[2]); !ok {
				return 0, 0, fmt.Errorf("/etc/passwd of the image: %q is no uid", row[2])
			}
			gid, _ = id(row[3])
		case !numeric:
			return 0, 0, fmt.Errorf("%w: %q", errNoUser, user)
		}
	}
	if !hasGroup {
		return uid, gid, nil
	}
	if gid, numeric = id(group); numeric {
		return uid, gid, nil
	}
	groups, err := e.readFile(ctx, c.ID, "/etc/group")
	if err != nil {
		return 0, 0, err
	}
	row, ok := lookUp(groups, group, false)
	if !ok || len(row) < 3 {
		return 0, 0, fmt.Errorf("%w: %q", errNoUser, group)
	}
	if gid, ok = id(row[2]); !ok {
		return 0, 0, fmt.Errorf("/etc/group of the image: %q is no gid", row[2])
	}
	return uid, gid, nil
}

func id(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil
}

// lookUp finds the row of a name, or of an id.
func lookUp(file []byte, key string, byID bool) ([]string, bool) {
	column := 0
	if byID {
		column = 2
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for lines.Scan() {
		row := strings.Split(lines.Text(), ":")
		if len(row) > column && row[column] == key {
			return row, true
		}
	}
	return nil, false
}

// maxUserFile bounds /etc/passwd of an image.
const maxUserFile = 1 << 20

// readFile reads a small file of a container; one that does not exist is empty.
func (e *engine) readFile(ctx context.Context, containerID, name string) ([]byte, error) {
	got, err := e.CopyFromContainer(ctx, containerID, client.CopyFromContainerOptions{SourcePath: name})
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer got.Content.Close()
	t := tar.NewReader(got.Content)
	header, err := t.Next()
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", name, err)
	}
	if header.Typeflag != tar.TypeReg || header.Size > maxUserFile {
		return nil, fmt.Errorf("%s of the image is not a file of at most %d bytes", name, maxUserFile)
	}
	return io.ReadAll(t)
}
