package wire

import (
	"net/http"
)

// Reply is the answer to a call of the operator API: a message, or only a status.
type Reply struct {
	Message Message
	Status  int // default 200
}

// ServeOperator reads a call of the operator API, whose protobuf package is named, has it
// performed and answers.
func ServeOperator(w http.ResponseWriter, r *http.Request, call Message, api string, perform func() (Reply, *Fault)) {
	if !RequireMethod(w, r, http.MethodPost) {
		return
	}
	body, fault := ReadCall(r, call, "mesos."+api+".Call_Type")
	switch {
	case fault != nil:
	case !body.Typed:
		fault = Faultf(http.StatusBadRequest, "Failed to validate %s::Call: Expecting 'type' to be present", api)
	case body.Accept == "":
		fault = NotAcceptable()
	}
	var reply Reply
	if fault == nil {
		reply, fault = perform()
	}
	if fault != nil {
		fault.Write(w)
		return
	}
	if reply.Message == nil {
		w.WriteHeader(max(reply.Status, http.StatusOK))
		return
	}
	data, err := Encode(reply.Message, body.Accept)
	if err != nil {
		Text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", body.Accept)
	_, _ = w.Write(data) // a client that went away needs no answer
}
