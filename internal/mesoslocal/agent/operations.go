package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"tidemill/internal/mesoslocal/resources"
	"tidemill/internal/mesoslocal/wire"
)

// operation is one whose end is told until the framework acknowledges it.
type operation struct {
	done  wire.OperationDone
	timer wire.Timer
	wait  time.Duration
}

// resourceFile is what the agent keeps of its resources: reservations and volumes outlive it.
type resourceFile struct {
	Flag  string   `json:"flag"`  // the configured ones, from which the total was made
	Total [][]byte `json:"total"` // encoded Resources
}

func (a *Agent) resourcePath() string { return filepath.Join(a.opts.WorkDir, "meta", "resources.json") }

// loadResources returns the configured resources, with the reservations and volumes that
// were made of them by a former agent of the same configuration.
func (a *Agent) loadResources() (resources.Bundle, error) {
	configured, err := resources.Parse(a.opts.Resources)
	if err != nil {
		return configured, err
	}
	data, err := os.ReadFile(a.resourcePath())
	if errors.Is(err, fs.ErrNotExist) {
		return configured, nil
	}
	var kept resourceFile
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return configured, fmt.Errorf("recover resources: %w", err)
	}
	if kept.Flag != a.opts.Resources {
		return configured, fmt.Errorf("recover resources: %q are configured, but reservations were made of %q "+
			"(start with these, or remove %s)", a.opts.Resources, kept.Flag, a.resourcePath())
	}
	list := make([]mesos.Resource, len(kept.Total))
	for i := range kept.Total {
		if err := list[i].Unmarshal(kept.Total[i]); err != nil {
			return configured, fmt.Errorf("recover resources: %w", err)
		}
	}
	return resources.Of(list), nil
}

func (a *Agent) keepResources() error {
	kept := resourceFile{Flag: a.opts.Resources}
	for _, resource := range a.total.Mesos("") {
		data, err := resource.Marshal()
		if err != nil {
			return fmt.Errorf("keep resources: %w", err)
		}
		kept.Total = append(kept.Total, data)
	}
	data, err := json.Marshal(kept)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(a.resourcePath()), 0o755)
	}
	if err == nil {
		err = os.WriteFile(a.resourcePath(), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep resources: %w", err)
	}
	return nil
}

// operate changes the agent's resources as the master already has, and reports it where
// the framework asks for that; mu is held.
func (a *Agent) operate(order *wire.Operation) {
	from, to := wire.Unwrap(order.From), wire.Unwrap(order.To)
	total, _ := a.total.Convert(resources.Conversion{From: from, To: to}) // the master has checked it
	a.total = total
	for _, err := range []error{a.keepResources(), a.changeVolumes(from, to)} {
		if err != nil {
			a.log.Error().Err(err).Msg("an operation is not complete")
		}
	}
	if order.ID == "" {
		return
	}
	op := &operation{wait: firstRetry, done: wire.OperationDone{FrameworkID: order.FrameworkID, ID: order.ID, UUID: wire.NewUUID()}}
	a.operations[string(op.done.UUID)] = op
	a.armOperation(op)
	a.tellOperation(op)
}

func (a *Agent) tellOperation(op *operation) {
	if a.link != nil {
		a.link.Send(wire.ToMaster{Operation: &op.done})
	}
}

func (a *Agent) armOperation(op *operation) {
	op.timer = a.opts.Clock.AfterFunc(op.wait, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.ctx.Err() != nil || a.operations[string(op.done.UUID)] != op {
			return
		}
		a.tellOperation(op)
		op.wait = min(2*op.wait, lastRetry)
		a.armOperation(op)
	})
}

func (a *Agent) operationKnown(known *wire.OperationDone) {
	if op := a.operations[string(known.UUID)]; op != nil {
		op.timer.Stop()
		delete(a.operations, string(known.UUID))
	}
}

func (a *Agent) volumePath(volume mesos.Resource) string {
	role := strings.ReplaceAll(resources.ReservedFor(volume), "/", " ") // as Mesos names them
	return filepath.Join(a.opts.WorkDir, "volumes", "roles", role, volume.Disk.Persistence.ID)
}

// changeVolumes makes the directories of new persistent volumes, and removes those of
// destroyed ones with all that is in them.
func (a *Agent) changeVolumes(from, to []mesos.Resource) error {
	var fault error
	for _, volume := range from {
		if volume.Disk.GetPersistence() != nil {
			fault = errors.Join(fault, os.RemoveAll(a.volumePath(volume)))
		}
	}
	for _, volume := range to {
		if volume.Disk.GetPersistence() != nil {
			fault = errors.Join(fault, os.MkdirAll(a.volumePath(volume), 0o755))
		}
	}
	if fault != nil {
		return fmt.Errorf("change volumes: %w", fault)
	}
	return nil
}

// linkVolumes puts the volumes of a task into its sandbox.
func (a *Agent) linkVolumes(e *executor, list []mesos.Resource) error {
	for _, volume := range list {
		if volume.Disk.GetPersistence() == nil {
			continue
		}
		inside := volume.Disk.GetVolume().GetContainerPath()
		if !filepath.IsLocal(inside) {
			return fmt.Errorf("Failed to link volume '%s': the path '%s' is not in the sandbox", volume.Disk.Persistence.ID, inside)
		}
		link := filepath.Join(e.sandbox, inside)
		err := os.MkdirAll(filepath.Dir(link), 0o755)
		if err == nil {
			err = os.Symlink(a.volumePath(volume), link)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("Failed to link volume '%s': %w", volume.Disk.Persistence.ID, err)
		}
	}
	return nil
}
