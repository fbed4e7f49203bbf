import LinuxSystem
import VhostUser
import VhostUserFrontend
import Virtio

/// The front-end's end of the back-end channel: it answers misses, when it comes to it.
extension SimulatedFrontend {
    /// Gives the device the channel.
    func openChannel() {
        tell(.setBackendChannel, descriptors: [Self.socket()]) { .none }
    }

    private static func socket() -> FileDescriptor {
        guard let pair = try? UnixSocket.pair() else { preconditionFailure("this machine has no sockets") }
        return pair.0
    }

    /// Warnings that belong to what a guest may do.
    func isExpected(_ notice: SessionNotice) -> Bool {
        scenario.hasIOMMU && (notice.description.contains("denied the device access") || isLate(notice))
    }

    /// A miss of a device that has been reset since is answered all the same: QEMU looks at the back-end channel when it comes to it.
    private func isLate(_ notice: SessionNotice) -> Bool { isBusy && notice.description.hasPrefix("IOTLB_MSG refused") }

    /// Answers the oldest request of the device's. No message waits for its answer meanwhile.
    func answerBackend(_ session: Session) {
        let request = requests.removeFirst()
        var value: UInt64 = 0
        if request.request == BackendRequest.iotlbMessage.rawValue, case .iotlb(let message)? = try? request.decode(.iotlb) {
            guard message.kind == .miss else { return }
            let page = translate(message)
            if let page {
                trace.note("I/O virtual address \(message.iova) is translated")
                translationCount += 1
                let update = IOTLBMessage(
                    iova: page.iova, size: 4096, frontendAddress: page.frontendAddress, permissions: page.access.rawValue, kind: .update)
                send(update, session)
            } else {
                value = 1
            }
        }
        if request.needsReply { session.receiveOnBackendChannel(request.reply(.u64(value))) }
    }

    private func translate(_ miss: IOTLBMessage) -> (iova: UInt64, frontendAddress: UInt64, access: MemoryAccess)? {
        translations?().translate(miss.iova, MemoryAccess(rawValue: miss.permissions))
    }

    /// Tells the device that translations of these addresses are void; false when a message is on its way, and nothing is told. Size 0 is
    /// everything.
    func invalidate(_ address: UInt64, _ size: UInt64, _ session: Session) -> Bool {
        guard !isBusy else { return false }
        send(IOTLBMessage(iova: address, size: size, frontendAddress: 0, permissions: 0, kind: .invalidate), session)
        return true
    }

    /// The device's poller changes what it knows before the answer: here that is at once.
    private func send(_ message: IOTLBMessage, _ session: Session) {
        session.receive(Message(FrontendRequest.iotlbMessage, .iotlb(message), needReply: true))
        // A daemon that died of it answers nothing, and the next one knows no translation.
        if isDaemonDead?() ?? false { return }
        guard let answer = takeAnswer() else { return problem = "IOTLB_MSG was not answered" }
        if case .u64(0)? = try? answer.decode(.u64) { return }
        if !isBusy { problem = "IOTLB_MSG was refused" }
    }
}
