package chronos

import "strings"

// words splits arguments as a shell splits a line: at blanks, but for those
// that are quoted or escaped. Chronos pasted them into the command's text;
// here nothing else in them means anything to a shell.
func words(line string) ([]string, error) {
	var out []string
	var word strings.Builder
	quote, begun := rune(0), false
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		c := runes[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(runes) && (quote == 0 || strings.ContainsRune("\\\"$`", runes[i+1])):
			i++
			word.WriteRune(runes[i])
			begun = true
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, begun = c, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", c):
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, invalid("arguments", "the quote %c is not closed", quote)
	}
	if begun {
		out = append(out, word.String())
	}
	return out, nil
}
