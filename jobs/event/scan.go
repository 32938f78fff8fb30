package event

// scanner walks over JSON text by the grammar of RFC 8259.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scanner) take(c byte) bool {
	if !s.at(c) {
		return false
	}
	s.i++
	return true
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// text reads a string and gives its value.
func (s *scanner) text() ([]byte, bool) {
	start := s.i
	if !s.str() {
		return nil, false
	}
	return unquote(s.b[start:s.i]), true
}

// str passes over a string.
func (s *scanner) str() bool {
	if !s.take('"') {
		return false
	}
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			return true
		case c == '\\':
			if !s.escape() {
				return false
			}
		case c < 0x20:
			return false
		}
	}
	return false
}

func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if s.i >= len(s.b) || nibble(s.b[s.i]) > 15 {
				return false
			}
			s.i++
		}
		return true
	}
	return false
}

// value passes over any value.
func (s *scanner) value(depth int) *Fault {
	if depth > MaxDepth {
		return &Fault{Code: TooDeep}
	}
	ok := false
	if s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '"':
			ok = s.str()
		case '{', '[':
			return s.nested(c, depth)
		case 't':
			ok = s.word("true")
		case 'f':
			ok = s.word("false")
		case 'n':
			ok = s.word("null")
		default:
			ok = s.number()
		}
	}
	if !ok {
		return &Fault{Code: Syntax}
	}
	return nil
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// nested passes over an object or a list.
func (s *scanner) nested(open byte, depth int) *Fault {
	end := byte('}')
	if open == '[' {
		end = ']'
	}
	s.i++
	s.space()
	if s.take(end) {
		return nil
	}
	for {
		if open == '{' {
			if !s.str() {
				return &Fault{Code: Syntax}
			}
			if s.space(); !s.take(':') {
				return &Fault{Code: Syntax}
			}
			s.space()
		}
		if fault := s.value(depth + 1); fault != nil {
			return fault
		}
		s.space()
		switch {
		case s.take(end):
			return nil
		case !s.take(','):
			return &Fault{Code: Syntax}
		}
		s.space()
	}
}

// List cuts a JSON array into its elements, which it does not look into
// further than to find their ends: a text in it may be no UTF-8. More than
// limit elements are TooMany. With a fault come the elements before it.
func List(doc []byte, limit int) ([][]byte, *Fault) {
	s := scanner{b: doc}
	s.space()
	if !s.take('[') {
		return nil, &Fault{Code: Syntax}
	}
	var out [][]byte
	for s.space(); !s.take(']'); s.space() {
		if len(out) > 0 {
			if !s.take(',') {
				return out, &Fault{Code: Syntax}
			}
			s.space()
		}
		if len(out) == limit {
			return out, &Fault{Code: TooMany}
		}
		start := s.i
		if fault := s.value(0); fault != nil {
			return out, fault
		}
		out = append(out, doc[start:s.i])
	}
	if s.space(); s.i != len(doc) {
		return out, &Fault{Code: Trailing}
	}
	return out, nil
}
