package faults

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// clockKinds set wall clocks and change how long access tokens live, in both set-ups. A clock stays wrong until it is set
// again, so after a while every clock differs from every other one by minutes.
var clockKinds = []kind{
	{name: "set the clock of a resource service", weight: 2, do: (*Injector).setResourceClock},
	{name: "set the clock of the database", weight: 2, do: (*Injector).setDatabaseClock},
	{name: "let time pass", weight: 1, do: (*Injector).letTimePass},
	{name: "restart an authsvc with another access TTL", weight: 1, do: (*Injector).changeAccessTTL},
}

const (
	// mostWrong is how far a clock is from the right time, either way: a step of the database's is less than KeyRetention.
	mostWrong = 10 * time.Minute
	// passing is the time that passes at once for everybody.
	passing = 35 * time.Minute
	// shortest is the life of tokens that no run outlives.
	shortest = 4 * time.Hour
	// mostPassing leaves tokens that live for accessTTL some life, whatever clock judges them.
	mostPassing = 6 * passing
)

// clocks are the files that tell programs built with system.DefectsTag by how much their wall clocks are wrong.
type clocks struct {
	dir    string
	passed time.Duration // everybody's
	wrong  map[string]time.Duration
	// ahead is by how much the database's clock is ahead of this machine's, and most by how much it ever was.
	ahead, most atomic.Int64
}

// latest is a time of the database's clock that isn't in its future, and before which it has issued everything that it has issued
// more than a millisecond ago. There is none while that clock shows less than it has shown.
func (c *clocks) latest() (time.Time, bool) {
	if c == nil {
		return time.Now(), true
	}
	most, ahead := c.most.Load(), c.ahead.Load()
	return time.Now().Add(time.Duration(ahead)), ahead == most
}

func newClocks(dir string) *clocks { return &clocks{dir: dir, wrong: map[string]time.Duration{}} }

// ofDatabase names the clock of PostgreSQL, or of the one authsvc on SQLite. The others have the names of instances.
const ofDatabase = "database"

// environment makes a program follow a clock, if there are any.
func (c *clocks) environment(name string) string {
	if c == nil {
		return "TOCSIN_WRONG_CLOCK="
	}
	return "TOCSIN_WRONG_CLOCK=" + filepath.Join(c.dir, name)
}

// set sets a clock and returns by how much it leapt.
func (c *clocks) set(t testing.TB, name string, wrong time.Duration) time.Duration {
	t.Helper()
	step := wrong - c.wrong[name]
	c.wrong[name] = wrong
	c.tell(t, name)
	return step
}

// tell replaces a file as a whole, so that nobody reads half of it.
func (c *clocks) tell(t testing.TB, name string) {
	t.Helper()
	if name == ofDatabase { // before it is so: whoever asks for the latest time gets none that is too early
		ahead := int64(c.passed + c.wrong[name])
		c.most.Store(max(c.most.Load(), ahead))
		c.ahead.Store(ahead)
	}
	file := filepath.Join(c.dir, name)
	err := os.WriteFile(file+".new", []byte((c.passed + c.wrong[name]).String()), 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// setClock sets a clock, records that, and returns by how much it leapt.
func (j *Injector) setClock(name string, wrong time.Duration) time.Duration {
	began := j.Recorder.Now()
	step := j.clocks.set(j.t, name, wrong)
	j.Recorder.Add(Clock{Span{began, j.Recorder.Now()}, name, j.clocks.passed + wrong})
	return step
}

// drawnWrong is how wrong a clock is set: by seconds from where it is as often as by minutes.
func (j *Injector) drawnWrong(name string) time.Duration {
	if j.rng.IntN(2) == 0 {
		return j.between(-mostWrong, mostWrong)
	}
	near := j.clocks.wrong[name] + j.between(-2*j.Bound, 2*j.Bound)
	return min(max(near, -mostWrong), mostWrong)
}

func (j *Injector) setResourceClock() Fault {
	r := j.resource()
	began := j.Recorder.Now()
	step := j.setClock(r.Instance, j.drawnWrong(r.Instance))
	return Fault{Span: Span{Begin: began}, Name: ": " + r.Instance + by(step), Spared: true, Leapt: j.leapt(r, step)}
}

// leapt names an instance if a step of its clock may have ended its freshness.
func (j *Injector) leapt(r *Resource, step time.Duration) []string {
	if step <= j.Bound-proofMargin {
		return nil
	}
	return []string{r.Instance}
}

func (j *Injector) setDatabaseClock() Fault {
	began := j.Recorder.Now()
	step := j.setClock(ofDatabase, j.drawnWrong(ofDatabase))
	return Fault{Span: Span{Begin: began}, Name: by(step), Spared: true}
}

// letTimePass moves every clock on, so that what the feed needn't keep any more lapses, while tokens live on.
func (j *Injector) letTimePass() Fault {
	if j.clocks.passed >= mostPassing {
		f := j.setDatabaseClock()
		f.Name = ", of which enough has passed: the database's clock" + f.Name
		return f
	}
	f := Fault{Span: Span{Begin: j.Recorder.Now()}, Spared: true}
	j.clocks.passed += passing
	j.setClock(ofDatabase, j.clocks.wrong[ofDatabase])
	for _, r := range j.Resources {
		j.setClock(r.Instance, j.clocks.wrong[r.Instance])
		f.Leapt = append(f.Leapt, r.Instance)
	}
	return f
}

// changeAccessTTL makes a replica issue tokens that live shorter or longer from now on, while the long ones of before live.
func (j *Injector) changeAccessTTL() Fault {
	a := j.Auth[j.rng.IntN(len(j.Auth))]
	ttl := []string{accessTTL, "30m", "1m", "5s"}[j.rng.IntN(4)]
	a.Set("TOCSIN_ACCESS_TTL=" + ttl)
	a.Stop(j.t)
	j.restart(a)
	return Fault{Name: ": " + ttl, Spared: len(j.Auth) > 1}
}

func by(step time.Duration) string {
	if step > 0 {
		return " by +" + step.Round(time.Millisecond).String()
	}
	return " by " + step.Round(time.Millisecond).String()
}
