package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"tidemill/internal/client"
	"tidemill/jobs"
)

// completionCmd prints what makes a shell complete command lines: it asks
// completeCmd for each.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

var completionScripts = map[string]string{ // never written
	"bash": `_tidemill() {
  local IFS=$'\n'
  COMPREPLY=($("$1" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _tidemill tidemill
`,
	"zsh": `#compdef tidemill
_tidemill() {
  local -a found
  found=("${(@f)$("$words[1]" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  [[ -n "$found" ]] && compadd -a found || _files
}
compdef _tidemill tidemill
`,
	"fish": `complete -c tidemill -a '(command tidemill complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Run prints the script.
func (c *completionCmd) Run(out console) error {
	_, err := fmt.Fprint(out.Out, completionScripts[c.Shell])
	return err
}

// completeCmd prints what may stand in the place of the last of some words.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// completeWithin bounds the wait for names, and completeAtMost their number.
const (
	completeWithin = time.Second
	completeAtMost = 1000
)

// Run says nothing of what fails: a shell is waiting for words.
func (c *completeCmd) Run(ctx context.Context, g *globals, out console, grammar *kong.Context) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	current := words[len(words)-1]
	at := &place{node: grammar.Model.Node, globals: *g}
	for _, word := range words[:len(words)-1] {
		at.pass(word)
	}
	for _, word := range at.words(ctx, current) {
		if strings.HasPrefix(word, current) {
			fmt.Fprintln(out.Out, word)
		}
	}
	return nil
}

// place is where in the grammar a word stands.
type place struct {
	node    *kong.Node
	flag    *kong.Flag // whose value comes next
	given   int        // arguments of the command before this one
	globals globals    // with those flags that were given
}

// pass goes on over a whole word.
func (p *place) pass(word string) {
	if flag := p.flag; flag != nil {
		p.flag = nil
		p.note(flag, word)
		return
	}
	if name, value, given := strings.Cut(word, "="); strings.HasPrefix(word, "-") {
		switch flag := p.find(name); {
		case flag == nil || flag.IsBool():
		case given:
			p.note(flag, value)
		default:
			p.flag = flag
		}
		return
	}
	for _, child := range p.node.Children {
		if child.Name == word {
			p.node = child
			return
		}
	}
	p.given++
}

// note keeps what says where the names are.
func (p *place) note(flag *kong.Flag, value string) {
	switch flag.Name {
	case "api":
		p.globals.API = value
	case "token-file":
		p.globals.TokenFile = value
	}
}

func (p *place) find(name string) *kong.Flag {
	for _, group := range p.node.AllFlags(true) {
		for _, flag := range group {
			if name == "--"+flag.Name || flag.Short != 0 && name == "-"+string(flag.Short) {
				return flag
			}
		}
	}
	return nil
}

// words are those that may stand here.
func (p *place) words(ctx context.Context, current string) (found []string) {
	switch {
	case p.flag != nil && p.flag.Enum != "":
		return p.flag.EnumSlice()
	case p.flag != nil && p.flag.Name == "job":
		return p.names(ctx, "job")
	case p.flag != nil:
		return nil
	case strings.HasPrefix(current, "-"):
		for _, group := range p.node.AllFlags(true) {
			for _, flag := range group {
				found = append(found, "--"+flag.Name)
			}
		}
		return found
	case p.node.Leaf():
		if len(p.node.Positional) == 0 || p.node.Parent == nil {
			return nil
		}
		if arg := p.node.Positional[min(p.given, len(p.node.Positional)-1)]; arg.Enum != "" {
			return arg.EnumSlice()
		}
		return p.names(ctx, p.node.Parent.Name)
	}
	for _, child := range p.node.Children {
		if !child.Hidden {
			found = append(found, child.Name)
		}
	}
	return found
}

// names asks the scheduler for what there is of a kind of thing.
func (p *place) names(ctx context.Context, thing string) (found []string) {
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	p.globals.Patience = 0
	api, err := p.globals.client()
	if err != nil {
		return nil
	}
	defer api.Close()
	return namesOf(ctx, api, thing)
}

// namesOf gives none where they cannot be had.
func namesOf(ctx context.Context, api *client.Client, thing string) (found []string) {
	switch thing {
	case "job":
		list, _, _ := api.Jobs(ctx, jobs.JobQuery{Limit: completeAtMost})
		for _, v := range list {
			found = append(found, string(v.Name))
		}
	case "run":
		page, _ := api.Runs(ctx, jobs.RunQuery{Limit: completeAtMost})
		for _, v := range page.Runs {
			found = append(found, string(v.ID))
		}
	case "pool":
		list, _ := api.Pools(ctx)
		for _, v := range list {
			found = append(found, string(v.Name))
		}
	case "agent":
		list, _ := api.Agents(ctx)
		for _, v := range list {
			found = append(found, v.ID)
		}
	}
	return found
}
