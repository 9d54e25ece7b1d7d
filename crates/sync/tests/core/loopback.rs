//! A server behind [`Remote`], in the same thread, that can lose an answer on the way.

use std::cell::RefCell;

use haversack_model::local::{FrozenBatch, ReplicaHeader};
use haversack_model::remote::{BatchReply, Page, Renewed};
use haversack_model::{
    Access, BatchNumber, BlobHash, CollectionId, Cursor, Direction, Error, Filter, GlobalId,
    Policy, Principal, Remote, ReplicaId, Result, Store, SyncModel,
};
use haversack_sync::register::{self, register};
use haversack_sync::{Ids, NewReplica, Pull, Uploader, native};

use crate::ground::{BRANCHES, Ground, TREES};
use crate::memory::MemoryReplica;

/// The server as one user sees it.
#[derive(Debug)]
pub(crate) struct Loopback<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) user: String,
    pub(crate) access: Access,
    pub(crate) page_size: usize,
    /// The next answer to a batch is lost after the server committed.
    pub(crate) lose_reply: bool,
    /// Replies by number; what the store keeps of one is its place here.
    pub(crate) replies: &'a RefCell<Vec<BatchReply>>,
}

fn cut() -> Error {
    Error::Network("the connection was cut".into())
}

/// Stands for the hash of a batch's bytes.
fn hash(batch: &FrozenBatch) -> [u8; 32] {
    *blake3::hash(format!("{batch:?}").as_bytes()).as_bytes()
}

impl Loopback<'_> {
    fn principal(&self) -> Principal {
        Principal {
            name: self.user.clone(),
            is_admin: false,
        }
    }

    /// Registers a replica and makes its file, empty; the first download fills it.
    pub(crate) fn checkout(&self, name: &str, policy: Policy, filter: Filter) -> MemoryReplica {
        let mut fresh = || self.ground.fresh();
        let store = &self.ground.store;
        let mut tx = store.begin_write(self.ground.now()).expect("a transaction");
        let layers = vec![
            (TREES, filter),
            (TREES.attachments(), Filter::All),
            (BRANCHES, Filter::All),
        ];
        let new = NewReplica {
            name: name.to_owned(),
            owner: self.user.clone(),
            native: true,
            sync_model: SyncModel::PerReplica,
            direction: Direction::Bidirectional,
            policy,
            layers,
            dialect: String::new(),
        };
        let replica = register(
            &mut *tx,
            new,
            &self.access,
            self.ground.now(),
            &mut Ids(&mut fresh),
        )
        .expect("a replica");
        let service = tx.service().expect("a service");
        let history = tx.head().expect("a head").history;
        tx.commit().expect("a commit");
        let header = ReplicaHeader {
            id: replica.id,
            name: name.to_owned(),
            url: String::new(),
            protocol: "native".to_owned(),
            cursor: Cursor::bare(history, haversack_model::Generation::ZERO),
            layer_cursors: Vec::new(),
            direction: Direction::Bidirectional,
            policy,
            next_batch: BatchNumber(1),
            schema_version: service.schema_version,
            resyncing: false,
            download: None,
            ahead: haversack_model::Versions::default(),
            synced_at: None,
            filter: String::new(),
        };
        let trees = service.collections[0].clone();
        let attachments = trees.attachments();
        MemoryReplica::new(
            header,
            vec![trees, attachments, service.collections[1].clone()],
        )
    }
}

impl Remote for Loopback<'_> {
    fn push(&mut self, header: &ReplicaHeader, batch: &FrozenBatch) -> Result<BatchReply> {
        let mut fresh = || self.ground.fresh();
        let mut tx = self.ground.store.begin_write(self.ground.now())?;
        let replica = register::find(&*tx, header.id, &self.principal())?;
        let by = Uploader {
            user: &self.user,
            replica: Some(replica.id),
            policy: replica.policy,
            access: &self.access,
            cursor: None,
        };
        let encode = |reply: &BatchReply| {
            let mut replies = self.replies.borrow_mut();
            replies.push(reply.clone());
            ((replies.len() - 1) as u64).to_le_bytes().to_vec()
        };
        let now = self.ground.now();
        let bytes = native::push(
            &mut *tx,
            &replica,
            &by,
            batch,
            hash(batch),
            &encode,
            now,
            &mut Ids(&mut fresh),
        )?;
        tx.commit()?;
        if std::mem::take(&mut self.lose_reply) {
            return Err(cut());
        }
        let place = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Ok(self.replies.borrow()[place as usize].clone())
    }

    fn pull(&mut self, header: &ReplicaHeader) -> Result<Page> {
        let store = &self.ground.store;
        let mut replica = register::find(&*store.begin_read()?, header.id, &self.principal())?;
        if register::filters_are_stale(&replica, &self.access) {
            let mut tx = store.begin_write(self.ground.now())?;
            register::refresh_filters(&mut *tx, &mut replica, &self.access)?;
            tx.commit()?;
        }
        let asked = Pull {
            cursor: header.cursor,
            download: header.download,
            ahead: header.ahead.clone(),
            schema_version: header.schema_version,
            max_changes: self.page_size,
        };
        native::pull(&*store.begin_read()?, &replica, &asked)
    }

    fn push_blob(&mut self, _: &ReplicaHeader, hash: BlobHash, content: &[u8]) -> Result<()> {
        let mut tx = self.ground.store.begin_write(self.ground.now())?;
        tx.store_blob(hash, content)?;
        tx.commit().map(|_| ())
    }

    fn pull_blob(
        &mut self,
        _: &ReplicaHeader,
        _: CollectionId,
        _: &GlobalId,
        hash: BlobHash,
    ) -> Result<Vec<u8>> {
        let content = self.ground.store.begin_read()?.blob(hash)?;
        content.ok_or(Error::Refused {
            code: 404,
            message: "no such content".to_owned(),
        })
    }

    fn renew(&mut self, header: &ReplicaHeader) -> Result<Renewed> {
        let mut fresh = || self.ground.fresh();
        let mut tx = self.ground.store.begin_write(self.ground.now())?;
        let renewed = match register::renew(
            &mut *tx,
            header.id,
            &self.principal(),
            self.ground.now(),
            &mut Ids(&mut fresh),
        ) {
            Ok(replica) => Renewed {
                id: replica.id,
                continues: true,
                cursor: None,
            },
            Err(Error::NoReplica(_)) => Renewed {
                id: self.checkout_again(&mut *tx, header)?,
                continues: false,
                cursor: None,
            },
            Err(error) => return Err(error),
        };
        tx.commit()?;
        Ok(renewed)
    }

    fn release(&mut self, header: &ReplicaHeader) -> Result<()> {
        let mut tx = self.ground.store.begin_write(self.ground.now())?;
        register::unregister(&mut *tx, header.id, &self.principal())?;
        tx.commit().map(|_| ())
    }
}

impl Loopback<'_> {
    fn checkout_again(
        &self,
        tx: &mut dyn haversack_model::WriteTx,
        header: &ReplicaHeader,
    ) -> Result<ReplicaId> {
        let mut fresh = || self.ground.fresh();
        let new = NewReplica {
            name: header.name.clone(),
            owner: self.user.clone(),
            native: true,
            sync_model: SyncModel::PerReplica,
            direction: header.direction,
            policy: header.policy,
            layers: vec![
                (TREES, Filter::All),
                (TREES.attachments(), Filter::All),
                (BRANCHES, Filter::All),
            ],
            dialect: String::new(),
        };
        register(
            tx,
            new,
            &self.access,
            self.ground.now(),
            &mut Ids(&mut fresh),
        )
        .map(|replica| replica.id)
    }
}
