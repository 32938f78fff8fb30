package wire

import (
	"reflect"
	"strings"
	"sync"
)

// fieldPlan is what JSON needs to know of one field of a protobuf message, taken from
// the struct tags which the protobuf compiler wrote.
type fieldPlan struct {
	index    int
	name     string
	enum     string // full name of the enum's type, or empty
	required bool
	repeated bool
	isMap    bool
	always   bool // written even when zero: an optional field that Go holds by value
}

type messagePlan struct {
	fields []fieldPlan
}

// plans caches the plan of each message type: a pure function of the type.
var plans sync.Map // reflect.Type -> *messagePlan

func planOf(message reflect.Type) *messagePlan {
	if plan, ok := plans.Load(message); ok {
		return plan.(*messagePlan)
	}
	plan := &messagePlan{}
	for i := range message.NumField() {
		if field, ok := planField(message.Field(i), i); ok {
			plan.fields = append(plan.fields, field)
		}
	}
	stored, _ := plans.LoadOrStore(message, plan)
	return stored.(*messagePlan)
}

func planField(field reflect.StructField, index int) (fieldPlan, bool) {
	tag, ok := field.Tag.Lookup("protobuf")
	if !ok {
		return fieldPlan{}, false
	}
	plan := fieldPlan{index: index, isMap: field.Type.Kind() == reflect.Map}
	for part := range strings.SplitSeq(tag, ",") {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "req":
			plan.required = true
		case "rep":
			plan.repeated = true
		case "name":
			plan.name = value
		case "enum":
			plan.enum = value
		}
	}
	plan.always = !plan.repeated && field.Type.Kind() != reflect.Pointer && field.Type.Kind() != reflect.Slice
	return plan, true
}
