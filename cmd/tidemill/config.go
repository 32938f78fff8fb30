package main

import (
	"io"

	"tidemill/internal/config"
	"tidemill/internal/jobfile"
)

type configCmd struct {
	Show configShow `cmd:"" help:"Print the configuration that a scheduler started like this would have."`
}

type configShow struct{ config.Flags }

// Run prints defaults, file, environment and flags as one, without secrets.
func (c *configShow) Run(g *globals, out console) error {
	o, err := c.Options(g.TokenFile)
	if err != nil {
		return err
	}
	shown := o.Masked()
	if g.Output == "table" {
		return jobfile.EncodeValue(out.Out, shown)
	}
	return g.print(out, shown, func(io.Writer) {})
}
