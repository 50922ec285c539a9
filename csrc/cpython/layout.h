/* The one place that sees the interpreter's internals and its version. Everything else under csrc/cpython asks
   here. Layouts come from the headers of the interpreter that the extension is built for (offsetof and struct
   types, hence one wheel per minor version); the self-test holds them against the running one at import. */
#ifndef LW_CPYTHON_LAYOUT_H
#define LW_CPYTHON_LAYOUT_H

#define Py_BUILD_CORE 1
#include <Python.h>

#include "internal/pycore_context.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_gil.h"
#include "internal/pycore_hamt.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#endif
#undef Py_BUILD_CORE
#include "opcode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Code objects have a number of their own, never given twice (Objects/codeobject.c, init_code). */
#define LW_HAS_CODE_VERSION (PY_VERSION_HEX >= 0x030C0000)
/* Each interpreter says which GIL it uses (Include/internal/pycore_ceval_state.h). */
#define LW_HAS_OWN_GIL (PY_VERSION_HEX >= 0x030C0000)
/* The thread state points to a C frame, which points to the current frame (Include/cpython/pystate.h). */
#define LW_HAS_CFRAME (PY_VERSION_HEX < 0x030D0000)
/* Frames keep the code as "executable", maybe tagged in the low bits, and the instruction being executed;
   before, the code itself and the instruction before the next one (Include/internal/pycore_frame.h). */
#define LW_HAS_EXECUTABLE (PY_VERSION_HEX >= 0x030D0000)
/* Where C code calls Python code, a frame without code of its own stands between; 3.11 marks the called one. */
#define LW_HAS_SHIMS (PY_VERSION_HEX >= 0x030C0000)
/* Frames keep a pointer to the end of their stack; before, an offset (Include/internal/pycore_frame.h). */
#define LW_HAS_STACK_POINTER (PY_VERSION_HEX >= 0x030E0000)

static inline uintptr_t lw_layout_frame_code(const _PyInterpreterFrame *frame)
{
#if LW_HAS_EXECUTABLE
    uintptr_t executable;
    memcpy(&executable, &frame->f_executable, sizeof executable);
    return executable & ~(uintptr_t)7;
#else
    return (uintptr_t)frame->f_code;
#endif
}

static inline uintptr_t lw_layout_frame_instruction(const _PyInterpreterFrame *frame)
{
#if LW_HAS_EXECUTABLE
    return (uintptr_t)frame->instr_ptr;
#else
    return (uintptr_t)frame->prev_instr;
#endif
}

/* How many of its slots a frame used when it was last left: at least its locals, or none once it was cleared. */
static inline intptr_t lw_layout_frame_slots(const _PyInterpreterFrame *frame, uintptr_t address)
{
#if LW_HAS_STACK_POINTER
    uintptr_t locals = address + offsetof(_PyInterpreterFrame, localsplus);
    return ((intptr_t)frame->stackpointer - (intptr_t)locals) / (intptr_t)sizeof(void *);
#else
    return frame->stacktop;
#endif
}

/* A frame that runs has its stack pointer in a register, and -1 in its place until it is left; 3.14 made a plain
   pointer of it that is not cleared any more (Include/internal/pycore_interpframe.h, _PyFrame_GetStackPointer). */
static inline bool lw_layout_frame_running(const _PyInterpreterFrame *frame)
{
#if LW_HAS_STACK_POINTER
    return false;
#else
    return frame->stacktop < 0;
#endif
}

static inline bool lw_layout_frame_entered(const _PyInterpreterFrame *frame)
{
#if LW_HAS_SHIMS
    return false;
#else
    return frame->is_entry;
#endif
}

/* Whether a frame at this instruction has left, or is about to, so that it calls nobody. Where frames keep the
   instruction before the next one, it may be data. */
static inline bool lw_layout_instruction_leaves(uint8_t opcode)
{
#if LW_HAS_EXECUTABLE
    switch (opcode) {
    case RETURN_VALUE:
    case INSTRUMENTED_RETURN_VALUE:
    case YIELD_VALUE:
    case INSTRUMENTED_YIELD_VALUE:
    case RETURN_GENERATOR:
#ifdef RETURN_CONST
    case RETURN_CONST:
    case INSTRUMENTED_RETURN_CONST:
#endif
        return true;
    default:
        return false;
    }
#else
    (void)opcode;
    return false;
#endif
}

/* Where the next instruction is of a frame that has been left. */
static inline uintptr_t lw_layout_next_instruction(uintptr_t instruction)
{
    return LW_HAS_EXECUTABLE ? instruction : instruction + sizeof(_Py_CODEUNIT);
}

/* Whether a frame that goes on with this instruction waits for another generator: it is the RESUME after a yield from
   or an await (Objects/genobject.c, _PyGen_yf; the upper bits are of 3.13, Include/internal/pycore_opcode_utils.h). */
static inline bool lw_layout_instruction_awaited(uint8_t opcode, uint8_t argument)
{
    switch (opcode) {
    case RESUME:
#ifdef INSTRUMENTED_RESUME
    case INSTRUMENTED_RESUME:
#endif
#ifdef RESUME_CHECK
    case RESUME_CHECK:
#endif
        return (argument & 3) >= 2;
    default:
        return false;
    }
}

/* The GIL that an interpreter's threads take (Include/internal/pycore_ceval_state.h; before 3.12, one for all). */
static inline const struct _gil_runtime_state *lw_layout_gil(const PyInterpreterState *interpreter)
{
#if LW_HAS_OWN_GIL
    return interpreter->ceval.gil;
#else
    (void)interpreter;
    return &_PyRuntime.ceval.gil;
#endif
}

/* Whether an instruction is over at once whatever it works on: no C code that could take its time, not even to free an
   object. */
static inline bool lw_layout_instruction_is_quick(uint8_t opcode)
{
    switch (opcode) {
    case NOP:
    case RESUME:
    case COPY:
    case SWAP:
    case PUSH_NULL:
    case LOAD_CONST:
    case LOAD_FAST:
    case LOAD_GLOBAL_BUILTIN:
    case LOAD_GLOBAL_MODULE:
    case JUMP_FORWARD:
    case JUMP_BACKWARD:
    case JUMP_BACKWARD_NO_INTERRUPT:
    case BINARY_OP_ADD_FLOAT:
    case BINARY_OP_SUBTRACT_FLOAT:
    case BINARY_OP_ADD_INT:
    case BINARY_OP_SUBTRACT_INT:
#if PY_VERSION_HEX < 0x030C0000
    case JUMP_BACKWARD_QUICK:
    case RESUME_QUICK:
    case COMPARE_OP_INT_JUMP:
    case COMPARE_OP_FLOAT_JUMP:
    case POP_JUMP_FORWARD_IF_FALSE:
    case POP_JUMP_FORWARD_IF_TRUE:
    case POP_JUMP_BACKWARD_IF_FALSE:
    case POP_JUMP_BACKWARD_IF_TRUE:
#else
    case COMPARE_OP_INT:
    case COMPARE_OP_FLOAT:
    case FOR_ITER_LIST:
    case FOR_ITER_TUPLE:
    case FOR_ITER_RANGE:
    case POP_JUMP_IF_FALSE:
    case POP_JUMP_IF_TRUE:
    case POP_JUMP_IF_NONE:
    case POP_JUMP_IF_NOT_NONE:
#endif
#if PY_VERSION_HEX < 0x030D0000
    case LOAD_FAST__LOAD_FAST:
    case LOAD_FAST__LOAD_CONST:
    case LOAD_CONST__LOAD_FAST:
#else
    case LOAD_FAST_LOAD_FAST:
    case RESUME_CHECK:
#endif
#if PY_VERSION_HEX >= 0x030E0000
    case LOAD_FAST_BORROW:
    case LOAD_FAST_BORROW_LOAD_FAST_BORROW:
    case JUMP_BACKWARD_JIT:
    case JUMP_BACKWARD_NO_JIT:
#endif
        return true;
    default:
        return false;
    }
}

/* The lowest owner that means "no code of its own": FRAME_OWNED_BY_CSTACK in 3.12 and 3.13, INTERPRETER and
   CSTACK (3, 4) in 3.14, INTERPRETER in 3.15. */
enum { LW_LAYOUT_FIRST_SHIM_OWNER = LW_HAS_SHIMS ? 3 : 255 };

static inline uint32_t lw_layout_code_version(const PyCodeObject *code)
{
#if LW_HAS_CODE_VERSION
    return code->co_version;
#else
    return 0;
#endif
}

/* What a type has under which names. New reference; NULL with an exception. */
static inline PyObject *lw_layout_type_names(PyTypeObject *type)
{
#if LW_HAS_OWN_GIL
    return PyType_GetDict(type);
#else
    return Py_NewRef(type->tp_dict);
#endif
}

/* An object that is never freed. It may be a copy of its first bytes. */
static inline bool lw_layout_immortal(const PyObject *object)
{
#if LW_HAS_CODE_VERSION
    return _Py_IsImmortal((PyObject *)object);
#else
    (void)object;
    return false;
#endif
}

/* Whether the first word of an object still reads as a reference count: the allocator keeps its free list there,
   so a freed block shows an address. 3.14 keeps flags in the upper half, 3.12 an immortal mark of 32 bits. */
static inline bool lw_layout_reference_count_alive(const PyObject *object)
{
    uint64_t word;
    memcpy(&word, object, sizeof word);
#if PY_VERSION_HEX >= 0x030E0000
    return (word & UINT32_MAX) != 0 && ((word >> 32) & UINT16_MAX) == 0;
#elif PY_VERSION_HEX >= 0x030C0000
    return word != 0 && word <= UINT32_MAX;
#else
    return word != 0 && word <= INT32_MAX;
#endif
}

#endif
