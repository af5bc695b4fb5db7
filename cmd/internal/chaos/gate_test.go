package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// echo says back each line that it hears.
func echo(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l
}

type caller struct {
	*testing.T
	conn net.Conn
	r    *bufio.Reader
}

func opened(t *testing.T) *gate {
	t.Helper()
	g, err := newGate("tcp", echo(t).Addr().String())
	require.NoError(t, err)
	t.Cleanup(g.close)
	return g
}

func call(t *testing.T, g *gate) caller {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(g.port()))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return caller{T: t, conn: c, r: bufio.NewReader(c)}
}

func (c caller) say(text string) {
	c.Helper()
	_, err := c.conn.Write([]byte(text + "\n"))
	require.NoError(c, err)
}

func (c caller) hears(text string) {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(time.Minute)))
	got, err := c.r.ReadString('\n')
	require.NoError(c, err)
	require.Equal(c, text+"\n", got)
}

// isSilent: nothing comes, and it does not end either.
func (c caller) isSilent() {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := c.r.ReadByte()
	require.ErrorIs(c, err, os.ErrDeadlineExceeded)
}

func (c caller) isOver() {
	c.Helper()
	require.NoError(c, c.conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := c.r.ReadByte()
	require.Error(c, err)
	require.NotErrorIs(c, err, os.ErrDeadlineExceeded, "it is open")
}

func TestAGateCarriesCutsAndRefuses(t *testing.T) {
	t.Parallel()
	g := opened(t)
	a := call(t, g)
	a.say("hello")
	a.hears("hello")
	g.cut()
	a.isOver()
	b := call(t, g)
	b.say("again")
	b.hears("again")
	g.refuseAll(true)
	b.isOver()
	call(t, g).isOver()
	g.refuseAll(false)
	c := call(t, g)
	c.say("back")
	c.hears("back")
	g.lead("tcp", echo(t).Addr().String())
	d := call(t, g)
	d.say("elsewhere")
	d.hears("elsewhere")
}

func TestWhatIsSaidDuringASilenceArrivesAfterIt(t *testing.T) {
	t.Parallel()
	g := opened(t)
	before := call(t, g)
	before.say("one")
	before.hears("one")
	g.silence(false)
	before.say("two")
	before.isSilent()
	during := call(t, g)
	during.say("three")
	during.isSilent()
	g.speak()
	before.hears("two")
	during.hears("three")
}

func TestALinkThatIsLostStaysSilentForBothEnds(t *testing.T) {
	t.Parallel()
	g := opened(t)
	lost := call(t, g)
	lost.say("one")
	lost.hears("one")
	g.silence(true)
	g.speak()
	lost.say("two")
	lost.isSilent()
	fresh := call(t, g)
	fresh.say("three")
	fresh.hears("three")
	lost.isSilent()
	g.cut()
	lost.isOver()
}
