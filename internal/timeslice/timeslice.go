// Package timeslice asks the kernel for short turns of the processor.
//
// A thread of Linux 6.12 or later can say how long its turns may be (sched_setattr(2),
// sched_runtime of SCHED_OTHER; the request size of EEVDF). It gets no larger share by
// that, and gets it sooner: what wakes up with short turns is let in front of a long one
// that is under way. A gateway works for some microseconds at a time and waits in
// between, for sockets and for the disk, so that beside a busy neighbour each wait may
// last as long as the neighbour's turn.
package timeslice
