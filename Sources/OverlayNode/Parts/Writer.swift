/// The catalogue writer, from both sides: how it answers this node, and what this node does when it writes itself.
struct Writer: Sendable {
    var status = WriterStatus()
    var duties = WriterDuties()
}
